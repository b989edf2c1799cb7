"""How fast a guest's clock goes, against its host's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from harness.core.waiting import Deadline, pause
from harness.guest.clock import Clock, Sample


@dataclass(frozen=True, slots=True)
class Drift:
    """The slope of a clock's offset over time.

    Args:
        ppm: microseconds that the guest's clock gains in a second of its host's; negative: it loses.
        uncertainty: the true value lies within this much of ``ppm``.
        samples: what it was made from: the best probe of each reading, in order.
    """

    ppm: float
    uncertainty: float
    samples: tuple[Sample, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Drift:
        """The straight line with the least squares.

        Its slope is a weighted sum of the offsets, so no more than the same sum of their uncertainties can be wrong.

        Raises:
            ValueError: fewer than two samples, or all of one moment.
        """
        if len({sample.at for sample in samples}) < 2:
            raise ValueError("a drift needs samples of two moments")
        middle = sum(sample.at for sample in samples) / len(samples)
        spread = sum((sample.at - middle) ** 2 for sample in samples)
        weights = [(sample.at - middle) / spread for sample in samples]
        slope = sum(weight * sample.offset for weight, sample in zip(weights, samples, strict=True))
        doubt = sum(abs(weight) * sample.uncertainty for weight, sample in zip(weights, samples, strict=True))
        return cls(slope * 1e6, doubt * 1e6, tuple(samples))

    def __str__(self) -> str:
        return f"{self.ppm:+.1f} ± {self.uncertainty:.1f} ppm"


def watch(clock: Clock, span: timedelta, readings: int, probes: int) -> Drift:
    """Read a guest's offset again and again for ``span``, evenly spread.

    Args:
        clock: of the guest.
        span: from the first reading to the last.
        readings: how many; at least 2.
        probes: of each reading, of which the best counts.

    Raises:
        GuestError: the guest did not answer in time.
        LabError: the host's clock cannot be read.
    """
    samples = [clock.offset(probes).best]
    whole = Deadline.after(span)
    for left in range(readings - 1, 0, -1):
        pause(whole.seconds / left)
        samples.append(clock.offset(probes).best)
    return Drift.of(samples)
