"""The clock of an ESXi, finer than it is told.

``HostDateTimeSystem.QueryDateTime`` tells whole seconds on real hosts (reported by others). Each answer still bounds
the clock from both sides: it showed that second at some moment between question and answer. Questions asked around
the tick's edge narrow the bounds until a round trip's length is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import floor, inf

from harness.backends.views import ClockReading
from harness.core import Deadline, LabError
from harness.core.waiting import pause

_STEPS = 20
"""Into how many parts one second's questions cut what is still open."""
_FINE = 0.001
"""The resolution of a host that tells fractions (whole milliseconds)."""
_LONGEST = 5.0
_DRIFT = 500e-6
"""What NTP slews a clock by at most."""
_ENOUGH = 2.0
"""How many of the quickest round trips the bounds may be apart in the end."""


class ClockJumped(LabError):
    """What the host tells contradicts what it told before: its clock was set meanwhile."""


@dataclass(slots=True)
class Bounds:
    """Between what a host's clock is ahead of ours (the monotonic one), as far as is known."""

    low: float = -inf
    high: float = inf
    quickest: float = inf

    def narrow(self, asked: float, answered: float, told: float, resolution: float) -> None:
        """The host's clock showed ``told``, cut down to ``resolution``, somewhere between the two moments.

        Raises:
            ClockJumped: that contradicts what it told before.
        """
        self.low = max(self.low, told - answered)
        self.high = min(self.high, told + resolution - asked)
        self.quickest = min(self.quickest, answered - asked)
        if self.low > self.high:
            raise ClockJumped(
                "the host's clock jumped while it was read",
                operation="clock",
                hint="is its NTP service setting it just now?",
            )

    @property
    def width(self) -> float:
        """How much is still open."""
        return self.high - self.low

    def reading(self, now: float) -> ClockReading:
        """The host's clock at a moment of ours."""
        return ClockReading(now + (self.low + self.high) / 2, self.width / 2)

    def later(self, span: float) -> Bounds:
        """What is known of it some seconds on, when both clocks may have run wrong."""
        drift = _DRIFT * span
        return Bounds(self.low - drift, self.high + drift, self.quickest)

    def next_question(self, now: float, told: float) -> float:
        """How long to rest before a question can tell something new.

        The next tick comes between ``tick - high`` and ``tick - low`` of our time: before, the answer is known, and one
        that is different shows that the clock was set.
        """
        tick = floor(told) + 1
        return max(0.0, tick - self.high - 2 * self.quickest - now, self.width / _STEPS - self.quickest)


class TickedClock:
    """Reads one host's clock, again and again.

    Every reading proves itself by its own answers. What was learned before only tells when the next tick is due, so the
    first reading takes some seconds, and later ones the way to the next tick.

    Args:
        ask: asks the host.
        clock: ours.
        rest: does nothing for some seconds.
    """

    def __init__(
        self,
        ask: Callable[[Deadline], datetime],
        *,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], None] = pause,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._rest = rest
        self._lock = threading.Lock()
        self._known: tuple[float, Bounds] | None = None

    def read(self, deadline: Deadline) -> ClockReading:
        """The host's clock now, with the uncertainty that was reached.

        Raises:
            LabError: the host does not answer, or its clock jumped while it was read.
        """
        with self._lock:
            bounds = Bounds()
            guide = self._known[1].later(self._clock() - self._known[0]) if self._known else bounds
            until = self._clock() + min(_LONGEST, deadline.seconds)
            fractions = False
            while True:
                asked = self._clock()
                told = self._ask(deadline).timestamp()
                answered = self._clock()
                fractions = fractions or told != int(told)
                answer = (asked, answered, told, _FINE if fractions else 1.0)
                bounds.narrow(*answer)
                guide = _guided(guide, bounds, answer)
                now = self._clock()
                if bounds.width <= _ENOUGH * bounds.quickest + _FINE or now >= until:
                    self._known = (now, bounds)
                    return bounds.reading(now)
                span = guide.next_question(now, told)
                if span:
                    self._rest(span)


def _guided(guide: Bounds, bounds: Bounds, answer: tuple[float, float, float, float]) -> Bounds:
    """Where to look for the edge: as was known before, unless the clock was set since."""
    if guide is bounds:
        return bounds
    try:
        guide.narrow(*answer)
    except ClockJumped:
        return bounds
    return guide
