"""How the guest's clocks behave from the inside: whether they ever run backwards, what reading them costs, and whether
its timers fire on time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from math import ceil
from typing import TYPE_CHECKING

from harness.backends.protocol import HostClock
from harness.core import Deadline
from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# Python asks the kernel for a whole number of nanoseconds, and the two clock readings around it are as fine.
_ROUNDING = 2e-9


@dataclass(frozen=True, slots=True)
class Handovers:
    """Two CPUs that told each other the time, in turns.

    Args:
        cpus: which two.
        count: how often each side read the clocks.
        backward: by clock (``realtime``, ``monotonic``), how often it showed less than the other CPU had read before.
        worst: by clock, the longest such step.
    """

    cpus: tuple[int, int]
    count: int
    backward: dict[str, int]
    worst: dict[str, timedelta]


@dataclass(frozen=True, slots=True)
class ClockCalls:
    """What reading the time costs a program.

    Args:
        calls: how many calls were made.
        seconds: the cost of one call, measured in batches: raw samples.
        in_user_space: no call entered the kernel.
        proven: a real system call was noticed, so :attr:`in_user_space` means something.
    """

    calls: int
    seconds: tuple[float, ...]
    in_user_space: bool
    proven: bool


@dataclass(frozen=True, slots=True)
class Overshoots:
    """By how much sleeps of a program were too long.

    Args:
        asked: how long each should have been, seconds.
        seconds: by how much each was longer, in the order they were slept; below 0: it ended too early.
    """

    asked: float
    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """The overshoot, in seconds, that so many percent of the sleeps kept to (nearest rank)."""
        ordered = sorted(self.seconds)
        return ordered[max(0, ceil(percent / 100 * len(ordered)) - 1)]

    @property
    def early(self) -> int:
        """How many ended before their time: nanosleep(2) promises that none does."""
        return sum(1 for each in self.seconds if each < -_ROUNDING)


def parse_handovers(data: bytes, cpus: tuple[int, int]) -> Handovers:
    """What the program ``handover`` printed."""
    fields = read_json(data)
    return Handovers(
        cpus,
        int(fields["handovers"]),
        {name: int(steps) for name, steps in fields["steps"].items()},
        {name: timedelta(seconds=worst) for name, worst in fields["worst"].items()},
    )


def parse_clock_calls(data: bytes) -> ClockCalls:
    """What the program ``clock_calls`` printed."""
    fields = read_json(data)
    costs = tuple(float(cost) for cost in fields["seconds"])
    return ClockCalls(int(fields["calls"]), costs, fields["in_user_space"] is True, fields["filter_bites"] is True)


def parse_overshoots(data: bytes, asked: float) -> Overshoots:
    """What the program ``sleeps`` printed."""
    found = tuple(float(each) for each in read_json(data)["overshoots"])
    if not found:
        raise ValueError("no sleep at all")
    return Overshoots(asked, found)


@dataclass(frozen=True, slots=True)
class Reading:
    """How far one of the guest's clocks is from its host's.

    Args:
        seconds: guest minus host.
        uncertainty: the true value lies within this much of ``seconds``.
    """

    seconds: float
    uncertainty: float

    def __str__(self) -> str:
        return f"{self.seconds:+.2f} s ± {self.uncertainty:.2f} s"


@dataclass(frozen=True, slots=True)
class BootClocks:
    """What the clocks of a guest showed since it booted, against its host's.

    Args:
        first: the wall clock when the first line of this boot was logged.
        now: the wall clock now.
        rtc: the battery clock now, taken as UTC.
    """

    first: Reading
    now: Reading
    rtc: Reading


def parse_first_stamp(data: bytes) -> tuple[float, float]:
    """The first object of ``journalctl --output=json``: wall and monotonic clock when it was logged, in seconds."""
    fields = read_json(data)
    return int(fields["__REALTIME_TIMESTAMP"]) / 1e6, int(fields["__MONOTONIC_TIMESTAMP"]) / 1e6


# The clocks are read one after the other within a few processes' starts; the round trip around all of them is known.
_STAMPS = (
    "printf 'clocks-%s-%s-%s-end\\n' $(date +%s.%N) $(cut -d' ' -f1 /proc/uptime) "
    "$(cat /sys/class/rtc/rtc0/since_epoch)"
)
_FIRST = ("sh", "-c", "journalctl --boot --output=json --quiet | head -n 1")


def boot_clocks(guest: Guest, clock: HostClock, deadline: Deadline) -> BootClocks:
    """Read the clocks of a guest over its serial console: it needs no network, and nothing that could set a clock.

    Sources: ``date``, ``/proc/uptime``, ``/sys/class/rtc/rtc0/since_epoch``, the first entry of this boot's journal.

    Args:
        guest: a guest that boots or has booted.
        clock: its host.
        deadline: for booting, logging in and reading.

    Raises:
        GuestError: it did not answer, or not as expected.
        LabError: the host's clock cannot be read.
    """
    guest.console.login(deadline)
    first = Probe("first log entry", _FIRST, parse_first_stamp).value(
        guest.console.run(_FIRST, timeout=timedelta(seconds=deadline.seconds)), guest.name
    )
    began = guest.console.end
    sent = clock.clock(deadline)
    guest.console.write(f"{_STAMPS}\n".encode())
    found = guest.console.wait_for(
        r"clocks-(\d{1,12}\.\d{1,12})-(\d{1,12}\.\d{1,12})-(\d{1,12})-end", deadline, since=began
    )
    received = clock.clock(deadline)
    middle = (sent.at + received.at) / 2
    doubt = (received.at - sent.at) / 2 + max(sent.uncertainty, received.uncertainty)
    wall, uptime, rtc = float(found[1]), float(found[2]), int(found[3])
    # If nobody set the clock since, wall minus monotonic is what it was at the first line.
    stepped = (wall - uptime) - (first[0] - first[1])
    return BootClocks(
        first=Reading(wall - middle - stepped, doubt),
        now=Reading(wall - middle, doubt),
        # It counts whole seconds: what it shows is up to one second old.
        rtc=Reading(rtc + 0.5 - middle, doubt + 0.5),
    )


class Timekeeping:
    """The clocks of a guest, seen from the inside. Every call measures afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def handovers(self, span: timedelta) -> tuple[Handovers, ...]:
        """Let every pair of online CPUs hand each other the time; ``span`` is shared by all pairs.

        Sources: ``CLOCK_REALTIME`` and ``CLOCK_MONOTONIC`` of clock_gettime(2), read by pinned processes.
        """
        pairs = list(combinations(sorted(self._guest.cpus.online()), 2))
        return tuple(self._pair(pair, span / len(pairs)) for pair in pairs)

    def clock_calls(self, calls: int) -> ClockCalls:
        """Read the time so often through the C library; the cost of the loop around it is taken off.

        Sources: ``timespec_get(3)`` for the cost, seccomp(2) for whether the kernel was entered.
        """
        argv = ["python3", "-", str(calls)]
        result = self._guest.run(argv, stdin=program("clock_calls"), timeout=timedelta(minutes=5))
        return Probe("cost of reading the time", tuple(argv), parse_clock_calls).value(result, self._guest.name)

    def sleeps(self, count: int, span: timedelta, within: timedelta) -> Overshoots:
        """Let a program sleep so often for ``span``, and tell by how much each sleep was too long.

        Where sleeps last so long that they do not fit into ``within``, there are fewer.

        Sources: ``CLOCK_MONOTONIC`` of clock_gettime(2) around clock_nanosleep(2), or select(2) where Python is older.
        """
        argv = ["python3", "-", str(count), str(span.total_seconds()), str(within.total_seconds())]
        result = self._guest.run(argv, stdin=program("sleeps"), timeout=within + timedelta(minutes=2))
        probe = Probe("sleeps", tuple(argv), lambda data: parse_overshoots(data, span.total_seconds()))
        return probe.value(result, self._guest.name)

    def _pair(self, cpus: tuple[int, int], span: timedelta) -> Handovers:
        argv = ["python3", "-", str(span.total_seconds()), *map(str, cpus)]
        result = self._guest.run(argv, stdin=program("handover"), timeout=span + timedelta(minutes=1))
        probe = Probe("clock handovers", tuple(argv), lambda data: parse_handovers(data, cpus))
        return probe.value(result, self._guest.name)
