"""How many pairs a verdict takes, and the smallest change that a number of pairs shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import beta

from harness.core import UsageError
from harness.measure import gains as pairs_of
from harness.measure import sequential, signed_rank
from harness.measure.gains import Gains
from harness.measure.plan import ALPHA, SPENT, Plan
from harness.measure.signed_rank import Floats

if TYPE_CHECKING:
    from harness.measure.judge import Series

POWER = 0.95
"""How surely a change that one asks for should be found."""
_EFFICIENCY = 3 / math.pi
"""Of the signed-rank test beside Student's, on normal noise (Hodges and Lehmann, 1956); better on longer tails."""
_DRAWS = 2000
_AT_ONCE = 4_000_000


def in_all(values: Floats, middle: float, gains: Gains, plan: Plan) -> int:
    """Pairs that would decide a series which goes on as it began, by the normal approximation.

    Args:
        values: its gains so far.
        middle: their estimate, taken for the truth.
        gains: says where a change begins to matter.
        plan: its last look's shares say how sure one has to be.
    """
    if len(values) < 2:
        return plan.looks[0]
    spread = float(np.subtract(*np.percentile(values, [75, 25]))) / 1.349 or float(values.std())
    power = signed_rank.quantile(1 - POWER)
    sure = signed_rank.quantile(plan.miss * plan.shares[-1]) + power
    inside = min(middle - gains.low, gains.high - middle)
    if inside > 0:
        distance = inside
    else:  # a change that matters: proven, it is estimated beyond its limit
        distance, sure = (
            abs(middle),
            signed_rank.quantile(plan.alpha * SPENT * plan.shares[-1] / plan.family / 2) + power,
        )
    return math.ceil((sure * spread / distance) ** 2 / _EFFICIENCY) if distance else plan.looks[-1]


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened in trials.

    Args:
        happened: in so many of them.
        trials: of so many.
    """

    happened: int
    trials: int

    @property
    def value(self) -> float:
        """The rate."""
        return self.happened / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """99 % confidence (C. J. Clopper, E. S. Pearson, Biometrika 26, 1934)."""
        missed = self.trials - self.happened
        low = float(beta.ppf(0.005, self.happened, missed + 1)) if self.happened else 0.0
        high = float(beta.ppf(0.995, self.happened + 1, missed)) if missed else 1.0
        return low, high

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2%} ({low:.2%} to {high:.2%}, {self.happened} of {self.trials})"


def false_alarms(
    series: Sequence[Series], *, budget: int, alpha: float = ALPHA, trials: int = _DRAWS, seed: int = 1
) -> Rate:
    """How often a validation of two equal sides ends with any `better` or `worse`, by a lab's own A/A pairs.

    Each trial draws as many pairs as the budget has, in runs of neighbours so that what hangs together in time does so
    here (H. R. Künsch, Annals of Statistics 17, 1989), from the same rounds for all series, and throws the coins anew.
    Practical limits are taken as 0: with them alarms are rarer still.

    Args:
        series: A against A, with the pairs that were taken.
        budget: as for `judge`.
        alpha: as for `judge`.
        trials: validations drawn.
        seed: of the draw.

    Raises:
        UsageError: a series has fewer than two pairs.
    """
    plan = Plan.of(max(len(series), 1), budget, alpha)
    found = [pairs_of.of(one).values for one in series]
    _two_pairs(series)
    random = np.random.default_rng(seed)
    zero = np.zeros((1, len(series)))
    alarms = 0
    for count in _portions(trials, len(series) * budget):
        table = np.empty((count, len(series), budget))
        places = {have: _neighbours(random, count, have, budget) for have in sorted({len(one) for one in found})}
        coins = random.choice([-1.0, 1.0], size=(count, 1, budget))
        for at, values in enumerate(found):
            table[:, at] = values[places[len(values)]]
        outcome = sequential.follow(signed_rank.untied(table * coins), plan, zero, zero)
        alarms += int((outcome.verdicts >= sequential.BETTER).any(axis=1).sum())
    return Rate(alarms, trials)


def smallest_change(
    series: Series, *, budget: int, family: int = 1, alpha: float = ALPHA, power: float = POWER, seed: int = 1
) -> float:
    """The smallest loss that `judge` calls worse with such noise, so surely, within so many pairs.

    Found by planting losses into draws from the series' own differences, with coins thrown anew.

    Args:
        series: A against A, with the pairs that were taken.
        budget: pairs.
        family: how many series are judged together.
        alpha: of the whole family.
        power: how surely it is found.
        seed: of the draw.

    Returns:
        The relative loss: 0.04 is 4 %; infinite where the budget can prove nothing.

    Raises:
        UsageError: the series has fewer than two pairs.
    """
    _two_pairs([series])
    plan, found = Plan.of(family, budget, alpha), pairs_of.of(series)
    if not plan.enough:
        return math.inf
    random = np.random.default_rng(seed)
    places = _neighbours(random, _DRAWS, series.pairs, budget)
    noise = signed_rank.untied(found.values[places] * random.choice([-1.0, 1.0], size=places.shape))[:, None, :]
    low, high = np.array([[found.low]]), np.array([[found.high]])

    def seen(loss: float) -> float:
        outcome = sequential.follow(noise - loss, plan, low, high)
        return float((outcome.verdicts == sequential.WORSE).mean())

    under, over = 0.0, max(-found.low, 1e-6)
    while seen(over) < power:
        under, over = over, 2 * over
    while over - under > 0.005 * over:
        half = (under + over) / 2
        under, over = (half, over) if seen(half) < power else (under, half)
    return -found.change(-over)


def _two_pairs(series: Sequence[Series]) -> None:
    short = next((one for one in series if one.pairs < 2), None)
    if short is not None or not series:
        raise UsageError(f"{short or 'no series'}: noise is known from two pairs or more")


def _neighbours(
    random: np.random.Generator, trials: int, have: int, want: int
) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Places of ``want`` pairs for each trial, in runs of about the square root of what there is, round its end."""
    length = max(1, round(math.sqrt(have)))
    starts = random.integers(0, have, size=(trials, -(-want // length)))
    runs = (starts[..., None] + np.arange(length)) % have
    return runs.reshape(trials, -1)[:, :want]


def _portions(trials: int, each: int) -> list[int]:
    """Trials in portions that fit into memory."""
    most = max(1, _AT_ONCE // each)
    return [min(most, trials - begun) for begun in range(0, trials, most)]
