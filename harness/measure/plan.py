"""How many pairs are looked at when, and in what order the sides of a pair run: fixed before the first sample."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from harness.core import UsageError

ALPHA = 0.01
"""How likely a whole validation may be to raise any false alarm."""
MISS = 0.05
"""How likely `same` may be where the change is as large as its practical limit, on either side."""
SPENT = 0.7
"""The part of alpha that is spent. What is kept makes a count over many validations stay below alpha, not only its
expectation, and leaves room for what is not exact (how ties are broken, more than 300 pairs)."""
LOOKS = 4
_SPARE = 2


def candidate_first(rounds: int, seed: int) -> tuple[bool, ...]:
    """For each round, whether its candidate runs before its baseline: a fair coin each, repeatable by ``seed``.

    The tests rest on these coins: whoever runs sides in another order has no claim to the false-alarm rate.
    """
    coins = random.Random(seed)  # noqa: S311  a repeatable draw is wanted, and nothing is secret
    return tuple(coins.random() < 0.5 for _ in range(rounds))


@dataclass(frozen=True, slots=True)
class Plan:
    """When a validation looks at its pairs, and what part of its errors each look may spend.

    Looks double up to the budget. A look spends in proportion to the pairs it adds (the linear spending function of
    K. K. G. Lan and D. L. DeMets, Biometrika 70, 1983, taken by Bonferroni: shares add up to 1, so that no assumption
    on how looks hang together is needed).

    Args:
        looks: pairs at each look, growing; the last is the budget.
        shares: what each look spends, in parts of 1.
        family: how many series are judged together.
        alpha: how likely any false alarm of the whole family over all looks may be.
        miss: how likely a single series' `same` may be wrong on either side, over all looks.
    """

    looks: tuple[int, ...]
    shares: tuple[float, ...]
    family: int
    alpha: float = ALPHA
    miss: float = MISS

    @classmethod
    def of(cls, family: int, budget: int, alpha: float = ALPHA, looks: int = LOOKS) -> Plan:
        """The plan for so many series and at most so many pairs of each.

        Args:
            family: how many series are judged together.
            budget: pairs of each series at most.
            alpha: family-wise.
            looks: no more looks than these; fewer where early ones could not decide anything.

        Raises:
            UsageError: no series, no pairs, or an alpha that is no chance.
        """
        if family < 1 or budget < 1 or not 0 < alpha < 1:
            raise UsageError(f"nothing to plan: {family} series, {budget} pairs, alpha {alpha}")
        counts = [budget]
        while len(counts) < looks:
            half = math.ceil(counts[0] / 2)
            if half == counts[0] or half < least(family, alpha, half / budget):
                break
            counts.insert(0, half)
        shares = tuple((now - before) / budget for before, now in zip([0, *counts], counts, strict=False))
        return cls(tuple(counts), shares, family, alpha)

    @property
    def enough(self) -> bool:
        """Whether the budget can prove anything at all."""
        return self.looks[-1] >= least(self.family, self.alpha, self.shares[-1], spare=0)

    def after(self, pairs: int) -> int | None:
        """The next look of a series that has so many pairs; None: that was the last."""
        return next((look for look in self.looks if look > pairs), None)


def least(family: int, alpha: float = ALPHA, share: float = 1.0, spare: int = _SPARE) -> int:
    """Pairs below which not even differences of one sign only would be an alarm.

    ``2 ** (1 - pairs)`` is the chance that all coins fall the same way.

    Args:
        family: how many series are judged together.
        alpha: family-wise.
        share: what the look may spend of it.
        spare: pairs more than that, so that a few small differences of the other sign do no harm.
    """
    return math.ceil(1 - math.log2(alpha * SPENT * share / family)) + spare
