"""A guest's wall clock against its host's.

One long-lived shell in the guest answers each empty line with its clock, so a probe costs one round trip and no process
start. The probe with the least round trip bounds the error best (RFC 5905, section 10): the guest's stamp was taken at
some moment between sending and receiving, so half the round trip is the uncertainty. The host's clock is read by its
own :class:`~harness.backends.protocol.HostClock`, which says by how much that may be wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.backends.protocol import HostClock
from harness.core import Deadline, GuestError
from harness.guest.ssh import Stamp

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# bash >= 5 has the clock as a variable; elsewhere `date` costs a process start, which widens the uncertainty and is
# seen in it. The monotonic clock, in nanoseconds, is the third line of /proc/timer_list ("now at N nsecs"), for root.
_MONOTONIC = "{ read -r _; read -r _; read -r _ _ mono _; } </proc/timer_list"
_SETTING = 5  # probes
_TRIES = 4
_CLOSE = 0.2  # seconds off after it was set: an emulated guest that is busy needs so long to set it
_BASH_FIRST = 'command -v bash >/dev/null && exec bash -c "$1"; exec sh -c "$1"'


def _answering(*, monotonic: bool) -> str:
    """A script that answers each line of stdin with the guest's clock, or clocks."""
    extra, shown = (f"{_MONOTONIC}; ", " $mono") if monotonic else ("", "")
    return (
        'if [ -n "${EPOCHREALTIME-}" ]; then '
        f'while read -r _; do wall=$EPOCHREALTIME; {extra}echo "$wall{shown}"; done; else '
        f'while read -r _; do wall=$(date +%s.%N); {extra}echo "$wall{shown}"; done; fi'
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of a guest's clock.

    Args:
        at: the host's wall clock in the middle of the round trip, seconds since the epoch.
        offset: guest minus host, seconds.
        uncertainty: by how much the offset may be wrong either way, seconds.
        monotonic: the guest's monotonic clock, seconds; None where it was not asked for.
    """

    at: float
    offset: float
    uncertainty: float
    monotonic: float | None = None


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a guest's clock is from its host's.

    Args:
        seconds: guest minus host: positive when the guest is ahead.
        uncertainty: the true value lies within this much of ``seconds``.
        samples: every probe, in order: raw material for a measurement.
    """

    seconds: float
    uncertainty: float
    samples: tuple[Sample, ...]

    @property
    def best(self) -> Sample:
        """The probe that is known best."""
        return min(self.samples, key=lambda sample: sample.uncertainty)

    def __str__(self) -> str:
        return f"{self.seconds * 1000:+.3f} ms ± {self.uncertainty * 1000:.3f} ms"


@dataclass(frozen=True, slots=True)
class _Lag:
    """Host minus controller, seconds, and its uncertainty."""

    seconds: float
    uncertainty: float


class Clock:
    """The wall clock of a guest."""

    def __init__(self, guest: Guest, now: Callable[[], float] = time.time) -> None:
        self._guest = guest
        self._now = now

    def offset(self, probes: int = 30, *, timeout: timedelta = timedelta(minutes=1)) -> Offset:
        """Guest minus host, from the probe with the least uncertainty of ``probes``.

        Raises:
            GuestError: the guest did not answer in time.
            LabError: the host's clock cannot be read.
        """
        return _best(self.series(probes, timeout=timeout))

    def series(
        self, probes: int, *, monotonic: bool = False, timeout: timedelta = timedelta(minutes=1)
    ) -> tuple[Sample, ...]:
        """``probes`` readings one after the other; with ``monotonic``, the guest's monotonic clock beside each.

        Raises:
            GuestError: the guest did not answer in time.
            LabError: the host's clock cannot be read.
        """
        deadline = Deadline.after(timeout)
        before = self._lag(deadline)
        stamps = self._stamps(probes, deadline, monotonic=monotonic)
        after = self._lag(deadline)
        lag = min(before, after, key=lambda each: each.uncertainty)
        return tuple(self._sample(stamp, lag) for stamp in stamps)

    def against_controller(
        self, probes: int, *, monotonic: bool = False, timeout: timedelta = timedelta(minutes=1)
    ) -> Offset:
        """Guest minus controller: for differences within minutes, to which a host that tells its time coarsely, or not
        at all, would only add doubt.

        Args:
            probes: how many; the best one counts.
            monotonic: whether samples hold the guest's monotonic clock as well.
            timeout: for all of them.

        Raises:
            GuestError: the guest did not answer in time.
        """
        stamps = self._stamps(probes, Deadline.after(timeout), monotonic=monotonic)
        return _best(tuple(self._sample(stamp, _Lag(0.0, 0.0)) for stamp in stamps))

    def set_from_host(self, *, timeout: timedelta = timedelta(minutes=1)) -> Offset:
        """Set the guest's wall clock right; returns how wrong it was.

        A host whose clock cannot be read is taken to agree with the controller's. What remains is the uncertainty and
        the few milliseconds that the guest needs between reading and setting its clock. Tools may set it at the same
        moment (open-vm-tools does once after a revert), so it is looked at again.

        Raises:
            GuestError: it does not stay as it was set.
        """

        def look(lag: _Lag) -> Offset:
            stamps = self._stamps(_SETTING, Deadline.after(timeout))
            return _best(tuple(self._sample(stamp, lag) for stamp in stamps))

        def close(offset: Offset) -> bool:
            return abs(offset.seconds) <= _CLOSE + offset.uncertainty

        lag = self._lag(Deadline.after(timeout))  # seldom: a host whose clock ticks in seconds is asked until it ticks
        first = wrong = look(lag)
        for _ in range(_TRIES):
            # Relative to the guest's own clock (GNU date), so that it does not matter how long the command takes to
            # start.
            self._guest.run(["date", "-s", f"{-wrong.seconds:+.6f} seconds"], timeout=timeout)
            wrong = look(lag)
            if close(wrong):
                return first
            # What seems to be set back may be right: where this process stood still between the host's clock and its
            # own, the host was misread, and the guest's tools know better.
            lag = self._lag(Deadline.after(timeout))
            wrong = look(lag)
            if close(wrong):
                return first
        raise GuestError(
            f"the clock of {self._guest.name} does not stay as it was set: {wrong} after {_TRIES} times",
            operation="clock",
            hint="something in the guest sets it: a time service, or the host's tools",
        )

    def _stamps(self, probes: int, deadline: Deadline, *, monotonic: bool = False) -> list[Stamp]:
        argv = ["sh", "-c", _BASH_FIRST, "-", _answering(monotonic=monotonic)]
        # The first answer pays for the start of the shell, so it is asked for and not used.
        return list(self._guest.converse(argv, probes + 1, deadline)[1:])

    def _lag(self, deadline: Deadline) -> _Lag:
        """The host's clock against the controller's own, which stamps the probes."""
        host = self._guest.hypervisor
        if not isinstance(host, HostClock):
            return _Lag(0.0, 0.0)
        reading = host.clock(deadline)  # of when it returns: one that waits for the next tick is no less sure for that
        return _Lag(reading.at - self._now(), reading.uncertainty)

    def _sample(self, stamp: Stamp, lag: _Lag) -> Sample:
        try:
            words = [float(word) for word in stamp.answer.replace(b",", b".").split()]
            wall, monotonic = words[0], words[1] / 1e9 if len(words) > 1 else None
            if not all(map(math.isfinite, words)):
                raise ValueError("no moment at all")
        except (ValueError, IndexError) as error:
            raise GuestError(
                f"{self._guest.name}: its clock answered {stamp.answer[:80]!r}", operation="clock"
            ) from error
        at = (stamp.sent + stamp.received) / 2 + lag.seconds
        return Sample(at, wall - at, (stamp.received - stamp.sent) / 2 + lag.uncertainty, monotonic)


def _best(samples: tuple[Sample, ...]) -> Offset:
    best = min(samples, key=lambda sample: sample.uncertainty)
    return Offset(best.offset, best.uncertainty, samples)
