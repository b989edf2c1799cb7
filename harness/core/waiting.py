"""The one module that waits. Every wait names what it waits for, and a time-out says what was last seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self, TypeVar

from harness.core.errors import LabError

T = TypeVar("T")

_SEEN = 4000
"""Characters of what was last seen that a message takes: a guest may have said it."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A condition's way to say *not yet*; ``seen`` ends up in the time-out's message."""

    seen: str


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in monotonic time that is passed down, so that nested waits share one budget."""

    at: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    told: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    """Who wants to know when what is waited for has come."""

    @classmethod
    def after(
        cls,
        span: timedelta | float,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[], None] | None = None,
    ) -> Self:
        """The moment ``span`` (a timedelta, or seconds) from now."""
        seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
        return cls(clock() + seconds, clock, told)

    def met(self) -> None:
        """Something that was waited for until this deadline has come; of several waits the last one counts."""
        if self.told is not None:
            self.told()

    @property
    def seconds(self) -> float:
        """Seconds left, never negative: fit for any library's time-out argument."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        """True once no time is left."""
        return self.clock() >= self.at

    def sooner(self, span: timedelta | float) -> Deadline:
        """The earlier of this deadline and ``span`` from now: a bound for one step of a longer job.

        Only who waits for this deadline itself tells of it: a step is not what it was set for.
        """
        other = Deadline.after(span, self.clock)
        return other if other.at < self.at else Deadline(self.at, self.clock)


def pause(span: timedelta | float) -> None:
    """Do nothing for ``span``. For measured intervals only; to wait for something use :func:`wait_for`."""
    time.sleep(span.total_seconds() if isinstance(span, timedelta) else span)


def wait_for(
    what: str,
    condition: Callable[[], T | Pending],
    deadline: Deadline,
    *,
    every: timedelta | float = 0.1,
    slowest: float = 0,
    fault: Callable[[str], BaseException] = LabError,
) -> T:
    """Call ``condition`` until it returns something that is not :class:`Pending`, and return that.

    The condition runs at least once, even when the deadline has already passed.

    Args:
        what: what is waited for, as it should read after "waited for".
        condition: returns its result, or ``Pending("what was seen instead")``.
        deadline: when to give up.
        every: pause between two tries; seconds or a timedelta.
        slowest: pauses grow by half from one to the next, up to this many seconds; 0: they stay.
        fault: makes the error of a time-out from its message; its class says whose fault it is.

    Raises:
        BaseException: whatever ``fault`` makes, naming the wait, its length and what was last seen.
    """
    step = every.total_seconds() if isinstance(every, timedelta) else every
    began = deadline.clock()
    while True:
        result = condition()
        if not isinstance(result, Pending):
            deadline.met()
            return result
        if deadline.expired:
            seen = result.seen if len(result.seen) <= _SEEN else f"{result.seen[:_SEEN]} ..."
            raise fault(f"waited {deadline.clock() - began:.1f} s for {what}; last seen: {seen}")
        pause(min(step, deadline.seconds))
        step = max(step, min(step * 1.5, slowest))
