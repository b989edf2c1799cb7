"""Pairs as one number each: how much better the candidate was, on a scale where gains and losses add up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.measure import signed_rank
from harness.measure.measurement import Better
from harness.measure.signed_rank import Floats

if TYPE_CHECKING:
    from harness.measure.judge import Series

_RATIOS_UP_TO = 0.5
"""Beyond this a practical limit is one of differences: a loss of everything has no logarithm."""


@dataclass(frozen=True, slots=True)
class Gains:
    """What `judge` computes with.

    Positive samples are compared by the logarithm of their ratio, on which 10 % up and 10 % down again is nothing.
    Where a sample is 0 or less (an offset, a share of stolen time), by their difference as a part of the usual size.
    Which of the two, and that size, depend on no sample's side, so that the coins keep their force.

    Args:
        values: one for each pair, positive where the candidate is better; untied.
        low: where a loss begins to matter.
        high: where a gain begins to matter.
        ratios: whether they are logarithms of ratios.
        sign: +1 where higher is better.
        size: the usual size of samples, in their unit.
    """

    values: Floats
    low: float
    high: float
    ratios: bool
    sign: int
    size: float = 1.0

    def change(self, gain: float) -> float:
        """A gain as a relative change of the baseline, positive where better: 0.1 is 10 % better."""
        return self.sign * math.expm1(self.sign * gain) if self.ratios else gain

    def without(self, value: float, gain: float) -> float:
        """What the candidate would have come to, had it not been better by ``gain``."""
        return value * math.exp(-self.sign * gain) if self.ratios else value - self.sign * gain * self.size


def of(series: Series) -> Gains:
    """The gains of a series."""
    baseline, candidate = np.array(series.baseline, dtype=float), np.array(series.candidate, dtype=float)
    sign = 1 if series.better is Better.HIGHER else -1
    both = np.concatenate([baseline, candidate])
    size = _size(both)
    limit = max(series.practical, series.floor / size)
    ratios = bool(len(both)) and bool((both > 0).all()) and limit <= _RATIOS_UP_TO
    if ratios:
        raw = sign * (np.log(candidate) - np.log(baseline))
        low, high = sign * math.log1p(-sign * limit), sign * math.log1p(sign * limit)
    else:
        raw = sign * (candidate - baseline) / size
        low, high = -limit, limit
    return Gains(signed_rank.untied(raw) if len(raw) else raw, low, high, ratios, sign, size)


def _size(values: Floats) -> float:
    """The usual size of samples; where most are 0 that of all, and 1 where there is nothing else."""
    sizes = np.abs(values)
    return next((float(size) for size in (np.median(sizes), sizes.mean()) if size > 0), 1.0) if len(values) else 1.0
