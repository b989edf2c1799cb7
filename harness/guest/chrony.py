"""chrony in a guest: what it follows, and how well."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.guest.probe import Probe, finite

if TYPE_CHECKING:
    from harness.guest.guest import Guest

UNITS = ("chrony.service", "chronyd.service")
"""What distributions call the service."""
_UNIT = "interop-chrony"
_EVERY = 0o377  # the last eight polls, a bit each


@dataclass(frozen=True, slots=True)
class Source:
    """A source of time, as ``chronyc sources`` shows it (chronyc(1)).

    Args:
        mode: ``#`` a reference clock of this machine, ``^`` a server, ``=`` a peer.
        state: ``*`` followed, ``+`` combined with it, ``-`` left out, ``x`` thought wrong, ``~`` too variable, ``?``
            not usable.
        name: of the reference clock, or an address.
        reach: which of the last eight polls were answered, a bit each.
        offset: by how much the guest's clock was ahead of it when last polled, seconds.
        error: how wrong that may be, seconds.
    """

    mode: str
    state: str
    name: str
    reach: int
    offset: float
    error: float

    @property
    def from_network(self) -> bool:
        """Whether it is reached by network."""
        return self.mode != "#"

    @property
    def followed(self) -> bool:
        """Whether the guest's clock is kept by it, and it answered all of the last eight polls."""
        return self.state == "*" and self.reach == _EVERY

    def __str__(self) -> str:
        return f"{self.mode}{self.state} {self.name} reach {self.reach:o} {self.offset:+.6f} s ± {self.error:.6f} s"


@dataclass(frozen=True, slots=True)
class Tracking:
    """What the clock is kept by, as ``chronyc tracking`` shows it.

    Args:
        source: its name; empty while there is none.
        leap: ``Normal``, or ``Not synchronised``.
    """

    source: str
    leap: str


def parse_sources(data: bytes) -> tuple[Source, ...]:
    """``chronyc -c sources``: mode, state, name, stratum, poll, reach (octal), age, offset twice, error."""
    found = []
    for row in csv.reader(data.decode("utf-8", "backslashreplace").splitlines()):
        if len(row) != 10 or len(row[0]) != 1 or len(row[1]) != 1:
            raise ValueError(f"{row} is no source of chrony's")
        # The first offset is that of now, by what the clock was corrected since; the second as it was measured.
        found.append(Source(row[0], row[1], row[2], int(row[5], 8), finite(row[8]), finite(row[9])))
    return tuple(found)


def parse_tracking(data: bytes) -> Tracking:
    """``chronyc -c tracking``: reference id, its name, then numbers; leap status is the last of 14."""
    (row,) = csv.reader(data.decode("utf-8", "backslashreplace").splitlines())
    if len(row) != 14:
        raise ValueError(f"{len(row)} fields, not 14")
    return Tracking(row[1], row[13])


SOURCES = Probe("sources of chrony", ("chronyc", "-c", "-n", "sources"), parse_sources)
TRACKING = Probe("tracking of chrony", ("chronyc", "-c", "-n", "tracking"), parse_tracking)


class Chrony:
    """chrony in a guest. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def stop(self) -> None:
        """Let nothing of chrony run: neither the distribution's service nor what :meth:`follow` started."""
        for unit in (*UNITS, f"{_UNIT}.service"):
            if self._guest.services.active(unit):
                self._guest.services.stop(unit)

    def follow(self, refclock: str) -> None:
        """Have chrony keep the clock by a reference clock of this machine alone, whatever its own file says.

        Directives on the command line take the place of the file (chronyd(8)), wherever a distribution has it.

        Args:
            refclock: what follows the word ``refclock`` (chrony.conf(5)), such as ``PHC /dev/ptp0 poll 2``.
        """
        self.stop()
        program = self._guest.run(["sh", "-c", "command -v chronyd || echo /usr/sbin/chronyd"]).text.strip()
        directives = (f"refclock {refclock}", "makestep 1 -1")
        self._guest.run(["systemd-run", "--quiet", "--collect", "--unit", _UNIT, "--", program, "-n", *directives])

    def sources(self) -> tuple[Source, ...]:
        """What it may follow: ``chronyc -c sources``."""
        return self._guest.read(SOURCES)

    def tracking(self) -> Tracking:
        """What it follows: ``chronyc -c tracking``."""
        return self._guest.read(TRACKING)
