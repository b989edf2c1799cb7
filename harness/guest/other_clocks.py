"""Clocks of its host that a guest can read: PTP devices, and the host's time that VMware's tools tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.clock import Offset
    from harness.guest.guest import Guest

TOOLS = ("vmware-toolbox-cmd", "stat", "hosttime")
"""Prints the host's time in whole seconds, as local time: ``%d %b %Y %H:%M:%S`` (open-vm-tools, toolboxcmd-stat.c)."""

_CLOCK = re.compile(r"/sys/class/ptp/ptp(?P<number>\d+)/clock_name")


@dataclass(frozen=True, slots=True)
class PtpClock:
    """A PTP device.

    Args:
        name: what its driver calls it (``KVM virtual PTP``, ``hyperv``).
        device: its file below ``/dev``.
    """

    name: str
    device: str

    def __str__(self) -> str:
        return f"{self.name!r} ({self.device})"


@dataclass(frozen=True, slots=True)
class Beside:
    """What another clock showed beside the guest's wall clock.

    Args:
        seconds: that clock minus the guest's.
        uncertainty: the true value lies within this much of ``seconds``.
        refused: why it could not be read; empty where it could.
    """

    seconds: float = 0.0
    uncertainty: float = 0.0
    refused: str = ""

    def minus_host(self, guest: Offset) -> Beside:
        """The same clock minus the host's, by what the guest's own clock is off at that time."""
        return Beside(self.seconds + guest.seconds, self.uncertainty + guest.uncertainty, self.refused)

    def __str__(self) -> str:
        if self.refused:
            return f"unreadable ({self.refused})"
        return f"{self.seconds * 1000:+.3f} ms ± {self.uncertainty * 1000:.3f} ms"


def parse_clocks(files: Mapping[str, bytes]) -> tuple[PtpClock, ...]:
    """The files ``clock_name`` (kernel, Documentation/ABI/testing/sysfs-ptp), in the order of the devices' numbers."""
    found = {}
    for path, content in files.items():
        match = _CLOCK.fullmatch(path)
        if not match:
            raise ValueError(f"{path} is no file of a PTP clock")
        number = int(match["number"])
        found[number] = PtpClock(content.decode("utf-8", "backslashreplace").strip(), f"/dev/ptp{number}")
    return tuple(clock for _, clock in sorted(found.items()))


def parse_phc(data: bytes) -> Beside:
    """What the program ``phc`` printed; the probe with the least round trip counts, as for the guest's own clock."""
    probes = [read_json(line) for line in data.decode("ascii").splitlines()]
    if not probes:
        raise ValueError("no probe at all")
    refused = [str(probe["refused"]) for probe in probes if "refused" in probe]
    if refused:
        return Beside(refused=refused[0])
    best = min(probes, key=lambda probe: float(probe["after"]) - float(probe["before"]))
    before, told, after = (float(best[name]) for name in ("before", "told", "after"))
    return Beside(told - (before + after) / 2, (after - before) / 2)


def parse_tools_time(data: bytes) -> Beside:
    """What the program ``tools_time`` printed. Whole seconds: what they show is up to one second old."""
    fields = read_json(data)
    if "refused" in fields:
        return Beside(refused=str(fields["refused"]))
    told = datetime.strptime(fields["said"], "%d %b %Y %H:%M:%S").replace(tzinfo=UTC).timestamp() + 0.5
    before, after = float(fields["before"]), float(fields["after"])
    return Beside(told - (before + after) / 2, (after - before) / 2 + 0.5)


PTP_CLOCKS = Probe.files("PTP clocks", parse_clocks, "/sys/class/ptp/ptp[0-9]*/clock_name")


class Ptp:
    """The PTP clocks of a guest. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def clocks(self) -> tuple[PtpClock, ...]:
        """All of them, which may be none: ``/sys/class/ptp/ptpN/clock_name``."""
        return self._guest.read(PTP_CLOCKS)

    def beside(self, clock: PtpClock, probes: int = 30) -> Beside:
        """A PTP clock against the guest's wall clock: clock_gettime(2) of its device between two of the wall clock."""
        argv = ["python3", "-", clock.device, str(probes)]
        result = self._guest.run(argv, stdin=program("phc"))
        return Probe(f"PTP clock {clock}", tuple(argv), parse_phc).value(result, self._guest.name)


def tools_time(guest: Guest) -> Beside:
    """The host's time as VMware's tools tell it, against the guest's wall clock: :data:`TOOLS`."""
    argv = ["python3", "-", *TOOLS]
    result = guest.run(argv, stdin=program("tools_time"), timeout=timedelta(minutes=2))
    return Probe("host time of the tools", tuple(argv), parse_tools_time).value(result, guest.name)
