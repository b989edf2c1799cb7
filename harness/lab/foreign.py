"""Foreign load: how much of a host's processors others use than those who measure there.

Leases keep off whoever takes leases. Other people's machines take none, so their work is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.backends.views import HostFacts, ProcessorTimes, ProcessorUse
from harness.lab.models import Host

WINDOW = 5.0
"""Seconds over which load is averaged before it is held against the limit: a single busy moment spoils nothing that
lasts, and a load that lasts is not averaged away by a long test."""
ALLOWED = 10.0
"""Percent of a real host's processors that others may use where the lab does not say: what an idle host does for
itself stays far below it, and a busy neighbour takes more."""

_EMULATED = frozenset({"tcg", "none"})


def limit_of(host: Host, facts: HostFacts) -> float | None:
    """The percentage in force; None: load is recorded, and held against nothing.

    Figures of twins and of emulated guests rehearse, and count for nothing: where the lab does not say otherwise, a
    machine that is busy does no harm to them.
    """
    if host.foreign_load is not None:
        return host.foreign_load
    return None if facts.twin or facts.accelerated in _EMULATED else ALLOWED


@dataclass(frozen=True, slots=True)
class Foreign:
    """What others did while somebody measured.

    Args:
        mean: the share of the host's processors that they used on the average, from 0 to 1.
        worst: the same over the worst :data:`WINDOW`; over all of the time where that is shorter.
        seconds: how long was looked at.
        processors: the host's.
    """

    mean: float
    worst: float
    seconds: float
    processors: int


@dataclass(slots=True)
class ForeignLog:
    """Readings in the order they were taken, and what they come to."""

    _before: ProcessorTimes | None = None
    _processors: int = 0
    _spans: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of each stretch of time, and the share that others used in it."""

    def add(self, reading: ProcessorTimes | ProcessorUse) -> None:
        """Take in a reading."""
        self._processors = reading.processors
        if isinstance(reading, ProcessorUse):
            share = (reading.busy - reading.ours) / reading.processors
            self._spans.append((reading.span, min(1.0, max(0.0, share))))
            return
        before, self._before = self._before, reading
        if before is None or reading.at <= before.at:
            return
        seconds = reading.at - before.at
        # Who began since is counted whole; what who ended did last is not known, and counts as foreign.
        ours = sum(max(0.0, spent - before.ours.get(name, 0.0)) for name, spent in reading.ours.items())
        share = (reading.busy - before.busy - ours) / seconds / reading.processors
        self._spans.append((seconds, min(1.0, max(0.0, share))))

    @property
    def seconds(self) -> float:
        """How long was looked at."""
        return sum(seconds for seconds, _ in self._spans)

    def so_far(self) -> Foreign | None:
        """What it comes to; None while there is nothing to say."""
        seconds = self.seconds
        if not seconds:
            return None
        mean = sum(length * share for length, share in self._spans) / seconds
        return Foreign(mean, self._worst(mean), seconds, self._processors)

    def _worst(self, mean: float) -> float:
        """The greatest mean of neighbouring stretches that last a window together, by two fingers along them."""
        worst, first, length, used = None, 0, 0.0, 0.0
        for seconds, share in self._spans:
            length += seconds
            used += seconds * share
            while length - self._spans[first][0] >= WINDOW:
                length -= self._spans[first][0]
                used -= self._spans[first][0] * self._spans[first][1]
                first += 1
            if length >= WINDOW:
                worst = max(worst or 0.0, used / length)
        return mean if worst is None else worst
