"""The guest's services (systemd units) and the packages they come from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# dpkg-query(1), db:Status-Status.
_STATES = {"not-installed", "config-files", "half-installed", "unpacked", "half-configured", "triggers-awaited"}
_STATES |= {"triggers-pending", "installed"}
_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,MainPID,"
    "WantedBy,RequiredBy,ActiveEnterTimestampMonotonic"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as systemd sees it: ``systemctl show``, systemd.unit(5).

    Args:
        name: its full name.
        load: ``loaded``, ``not-found``, ``masked``.
        active: ``active``, ``inactive``, ``failed``, ``activating`` ...
        sub: the finer state, such as ``running`` or ``exited``.
        enabled: ``enabled``, ``disabled``, ``static``, ``masked``; empty where there is no file.
        restarts: how often systemd itself started it again.
        pid: its main process; 0 when none runs.
        started_by: what starts it: a target, or a device whose udev rule asks for it (then it may well be ``static`` or
            ``disabled``); empty where nothing does.
        since: when it last became active, by the monotonic clock; zero when it never did.
    """

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    restarts: int
    pid: int
    started_by: frozenset[str] = frozenset()
    since: timedelta = timedelta()


def parse_unit(data: bytes) -> Unit:
    """``systemctl show``: one ``Name=value`` a line."""
    values = dict(line.partition("=")[::2] for line in data.decode("utf-8", "backslashreplace").splitlines())
    return Unit(
        values["Id"],
        values["LoadState"],
        values["ActiveState"],
        values["SubState"],
        values["UnitFileState"],
        int(values.get("NRestarts") or 0),  # a target or a mount has no such thing
        int(values.get("MainPID") or 0),
        frozenset(shlex.split(f"{values.get('WantedBy', '')} {values.get('RequiredBy', '')}")),
        timedelta(microseconds=int(values.get("ActiveEnterTimestampMonotonic") or 0)),
    )


def parse_failed(data: bytes) -> tuple[str, ...]:
    """``systemctl list-units --failed --plain --no-legend``: unit names in the first column."""
    names = tuple(line.split()[0] for line in data.decode("utf-8", "backslashreplace").splitlines() if line.strip())
    for name in names:
        if not re.fullmatch(r"\S+\.\w+", name):
            raise ValueError(f"{name!r} is no unit")
    return names


_TOLD = 4000  # bytes
_LONGEST_VERSION = 200
"""Reports show it with each result."""


def parse_version(data: bytes) -> str | None:
    """A line a package of that name, ``installed VERSION``: the last one's, as rpm lists the oldest first.

    There is none where it is not installed. dpkg goes on listing what was removed, as ``config-files``.
    """
    lines = [line.partition(" ") for line in data.decode("ascii").splitlines()]
    if any(state not in _STATES or not version for state, _, version in lines):
        raise ValueError("neither dpkg nor rpm lists packages so")
    installed = [version[:_LONGEST_VERSION] for state, _, version in lines if state == "installed"]
    return installed[-1] if installed else None


def parse_network(data: bytes) -> str | None:
    """``systemctl is-active``, a line for each of :data:`NETWORK`: the first that runs."""
    states = data.decode("ascii").splitlines()
    if len(states) != len(NETWORK):
        raise ValueError(f"the states of {len(NETWORK)} units were expected")
    return next((unit for unit, state in zip(NETWORK, states, strict=True) if state == "active"), None)


def parse_told_version(data: bytes) -> str:
    """The first dotted number that a program says of itself."""
    # Of endless digits each would be tried as the first one.
    found = re.search(r"\d+(?:\.\d+)+", data[:_TOLD].decode("utf-8", "backslashreplace"))
    if not found:
        raise ValueError("no version in it")
    return found[0]


def upstream(package: str) -> str:
    """The version that the makers gave: without a distribution's epoch and revision (deb-version(7), rpm-version(7)).

    Args:
        package: a package's version, such as ``1:7.2+dfsg-7+deb12u18``.

    Raises:
        ValueError: there is none in it.
    """
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", package)
    if not found:
        raise ValueError(f"{package!r} is no version of a package")
    return found[1]


def same_release(one: str, other: str) -> bool:
    """Whether two dotted versions are one, told with more or fewer digits; two numbers at least must be the same."""
    ours, theirs = one.split("."), other.split(".")
    shared = min(len(ours), len(theirs))
    return shared >= 2 and ours[:shared] == theirs[:shared]


NETWORK = ("NetworkManager.service", "wicked.service", "systemd-networkd.service", "networking.service")
"""What sets up the network on RHEL, SLES, Ubuntu and Debian; where several are there, one of them runs."""
UPTIME = Probe.file("/proc/uptime", lambda data: timedelta(seconds=float(data.split()[0])))
FAILED = Probe(
    "failed units", ("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"), parse_failed
)
STATE = Probe(
    "state of systemd", ("systemctl", "is-system-running"), lambda data: data.decode("ascii").strip(), accept=(0, 1)
)

# The status is 0 where one of them runs, 3 or 4 where none does.
SETS_UP_NETWORK = Probe(
    "what sets up the network", ("systemctl", "is-active", "--", *NETWORK), parse_network, accept=(0, 3, 4)
)

# Each package manager that the guest has: either may be there as a mere tool. rpm says on its standard output that a
# package is not installed, and ends with 1. The name is an argument, never part of the script.
_VERSION = """
if command -v dpkg-query >/dev/null; then
    dpkg-query --show --showformat '${db:Status-Status} ${Version}\\n' "$1" 2>/dev/null
fi
if command -v rpm >/dev/null && rpm --query --quiet "$1" 2>/dev/null; then
    rpm --query --queryformat 'installed %{VERSION}-%{RELEASE}\\n' "$1"
fi
true
"""


class Services:
    """The services of a guest. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def unit(self, name: str) -> Unit:
        """One unit: ``systemctl show``. A unit that does not exist has ``load == "not-found"``."""
        argv = ("systemctl", "show", "--property", _PROPERTIES, "--", name)
        return self._guest.read(Probe(f"unit {name}", argv, parse_unit))

    def active(self, name: str) -> bool:
        """Whether a unit is up."""
        return self.unit(name).active == "active"

    def failed(self) -> tuple[str, ...]:
        """The units that failed since boot: ``systemctl list-units --failed``."""
        return self._guest.read(FAILED)

    def state(self) -> str:
        """``starting``, ``running``, ``degraded`` ...: ``systemctl is-system-running``."""
        return self._guest.read(STATE)

    def start(self, name: str) -> None:
        """Start a unit and wait until it is up: ``systemctl start``."""
        self._guest.run(["systemctl", "start", "--", name])

    def stop(self, name: str) -> None:
        """Stop a unit and wait until it is down: ``systemctl stop``."""
        self._guest.run(["systemctl", "stop", "--", name])

    def journal(self, *, boot: int = 0, lines: int = 200) -> tuple[str, ...]:
        """The last lines of a boot's journal: 0 is this boot, -1 the one before; ``journalctl``.

        Raises:
            GuestError: the guest keeps no journal of that boot.
        """
        argv = ("journalctl", "--no-pager", "--quiet", f"--boot={boot:d}", f"--lines={lines:d}", "--output=cat")
        return self._guest.read(
            Probe("journal", argv, lambda data: tuple(data.decode("utf-8", "replace").splitlines()))
        )

    def version(self, package: str) -> str | None:
        """The installed version of a package, by ``dpkg-query`` or ``rpm``; None when it is not installed."""
        argv = ("sh", "-c", _VERSION, "-", package)
        return self._guest.read(Probe(f"version of {package}", argv, parse_version))

    def network(self) -> str | None:
        """The unit that sets up the guest's network: ``systemctl is-active``; None where it is another than we know."""
        return self._guest.read(SETS_UP_NETWORK)

    def first(self, names: Sequence[str]) -> Unit:
        """The first of these units that the guest has: distributions call a service by different names.

        Where it has several, the first that runs: NetworkManager may be installed beside wicked.

        Raises:
            AssertionError: it has none of them: who brought the services left it out.
        """
        idle = []
        for name in names:
            unit = self.unit(name)
            if unit.load == "not-found":
                continue
            if unit.active == "active":
                return unit
            idle.append(unit)
        if idle:
            return idle[0]
        raise AssertionError(f"{self._guest.name}: there is no unit {' or '.join(names)}")

    def age(self, name: str) -> timedelta:
        """How long a unit has been active: its ``ActiveEnterTimestampMonotonic`` against ``/proc/uptime``."""
        unit = self.unit(name)
        return self._guest.read(UPTIME) - unit.since if unit.active == "active" else timedelta()

    def kill(self, name: str) -> None:
        """End a unit's main process as a crash would, by SIGKILL: ``systemctl kill``."""
        self._guest.run(["systemctl", "kill", "--kill-who=main", "--signal=SIGKILL", "--", name])

    def told_version(self, argv: Sequence[str]) -> str:
        """The version that a program tells of itself (``qemu-ga --version``)."""
        return self._guest.read(Probe(f"version that {argv[0]} tells", tuple(argv), parse_told_version))
