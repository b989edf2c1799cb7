"""A limit from samples: wide enough for what was seen and a margin, and not a guess.

The bound begins at the furthest sample or at the outer fence of the samples, whichever is further: three times the
interquartile range beyond the quartile (J. Tukey, Exploratory Data Analysis, 1977), which few values of a healthy host
ever pass. A margin is added, and the sum rounded outwards to two digits.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core import UsageError

LOOKS = 1.0
"""Seconds. A wait looks again every 0.1 to 1 s, so that times of waits are known no better."""
_FENCE = 3.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """Bounds, and where they come from; all numbers in the limit's unit.

    Args:
        at_least: the lower bound; None: there is none.
        at_most: the upper bound; None: there is none.
        samples: how many values it was made of.
        least: the smallest of them.
        lower: their lower quartile.
        median: the middle one.
        upper: their upper quartile.
        most: the largest.
        margin: the distance between bound and furthest sample or fence, before rounding; of two bounds the larger.
    """

    at_least: float | None
    at_most: float | None
    samples: int
    least: float
    lower: float
    median: float
    upper: float
    most: float
    margin: float

    @property
    def spread(self) -> str:
        """What was seen, in words."""
        return f"{self.least:.4g} to {self.most:.4g}, half of them between {self.lower:.4g} and {self.upper:.4g}"


def propose(
    values: Sequence[float], *, lower: bool, upper: bool, margin: float = 0.2, resolution: float = 0.0
) -> Proposal:
    """Bounds for values of healthy runs.

    Args:
        values: two or more.
        lower: whether a lower bound is wanted.
        upper: whether an upper bound is wanted.
        margin: added to a bound, as a part of it.
        resolution: how well a single value is known; a margin is no less.

    Raises:
        UsageError: fewer than two values, or one that is not finite.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        raise UsageError(f"limits are made of two finite values or more, not of {list(values)[:5]}")
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    reach = _FENCE * (third - first)
    bottom, top = min(*values, first - reach), max(*values, third + reach)
    margins = {end: max(abs(end) * margin, resolution) for end in (bottom, top)}
    return Proposal(
        at_least=outwards(bottom - margins[bottom], up=False) if lower else None,
        at_most=outwards(top + margins[top], up=True) if upper else None,
        samples=len(values),
        least=min(values),
        lower=first,
        median=median,
        upper=third,
        most=max(values),
        margin=max(margins[bottom] if lower else 0.0, margins[top] if upper else 0.0),
    )


def outwards(value: float, *, up: bool, digits: int = 2) -> float:
    """``value`` rounded to so many digits, never inwards."""
    if value == 0:
        return 0.0
    places = digits - 1 - math.floor(math.log10(abs(value)))
    scaled = value * 10.0**places
    # What is a round number but for the last bit of its binary form stays what it is.
    round_number = math.isclose(scaled, round(scaled), rel_tol=1e-9)
    whole = round(scaled) if round_number else math.ceil(scaled) if up else math.floor(scaled)
    return round(whole / 10.0**places, max(places, 0))
