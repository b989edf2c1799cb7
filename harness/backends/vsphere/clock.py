"""The clock of an ESXi, finer than it is told.

``HostDateTimeSystem.QueryDateTime`` tells whole seconds on real hosts (reported by others). Each answer still bounds
the clock from both sides: it showed that second at some moment between question and answer. Questions asked around
the tick's edge narrow the bounds until a round trip's length is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import floor, inf

from harness.backends.model import ClockReading
from harness.core import Deadline, LabError
from harness.core.waiting import pause

_STEPS = 20
"""Into how many parts one second's questions cut what is still open."""
_FINE = 0.001
"""The resolution of a host that tells fractions (whole milliseconds)."""
_LONGEST = 5.0
_ENOUGH = 2.0
"""How many of the quickest round trips the bounds may be apart in the end."""


@dataclass(slots=True)
class Bounds:
    """Between what a host's clock is ahead of ours (the monotonic one), as far as is known."""

    low: float = -inf
    high: float = inf
    quickest: float = inf

    def narrow(self, asked: float, answered: float, told: float, resolution: float) -> None:
        """The host's clock showed ``told``, cut down to ``resolution``, somewhere between the two moments.

        Raises:
            LabError: that contradicts what it told before: somebody set the clock meanwhile.
        """
        self.low = max(self.low, told - answered)
        self.high = min(self.high, told + resolution - asked)
        self.quickest = min(self.quickest, answered - asked)
        if self.low > self.high:
            raise LabError(
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

    def next_question(self, now: float) -> float:
        """How long to rest before a question can tell something new.

        The next tick comes between ``tick - high`` and ``tick - low`` of our time: before, the answer is known.
        """
        tick = floor(now + self.low) + 1
        return max(0.0, tick - self.high - now, self.width / _STEPS - self.quickest)


def read(
    ask: Callable[[], datetime],
    deadline: Deadline,
    *,
    clock: Callable[[], float] = time.monotonic,
    rest: Callable[[float], None] = pause,
) -> ClockReading:
    """The host's clock now, with the uncertainty that was reached.

    Args:
        ask: asks the host.
        deadline: when to stop; what was reached by then is told.
        clock: ours.
        rest: does nothing for some seconds.

    Raises:
        LabError: the host does not answer, or its clock jumped meanwhile.
    """
    bounds = Bounds()
    until = clock() + min(_LONGEST, deadline.seconds)
    fractions = False
    while True:
        asked = clock()
        told = ask().timestamp()
        answered = clock()
        fractions = fractions or told != int(told)
        bounds.narrow(asked, answered, told, _FINE if fractions else 1.0)
        now = clock()
        if bounds.width <= _ENOUGH * bounds.quickest + _FINE or now >= until:
            return bounds.reading(now)
        span = bounds.next_question(now)
        if span:
            rest(span)
