"""The whole procedure on many validations at once: what `judge` does to one, simulations do to ten thousand.

At each look of the plan, in this order:

1. *Proven*: two-sided signed-rank tests against "no change", by Holm's step-down over the whole family (S. Holm,
   Scandinavian Journal of Statistics 6, 1979) at the look's share of alpha. What was proven at any look stays proven
   and makes room for the others. Over all looks the chance of any false proof is at most alpha: until the first one all
   proven are true, so some true null of ``m0`` had ``p <= alpha * share / m0``; shares add up to 1 (the argument of
   W. Maurer and F. Bretz, Statistics in Biopharmaceutical Research 5, 2013).
2. *Worse* or *better*: proven, and estimated beyond the practical limit. So an alarm is never more likely than a proof.
3. *Same*: two one-sided tests (D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987) say that
   the change is within its practical limits, at the look's share of the plan's ``miss``.

A series that has its verdict is not looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.measure import signed_rank
from harness.measure.plan import SPENT, Plan
from harness.measure.signed_rank import Floats

UNKNOWN, SAME, BETTER, WORSE = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of validations (first axis) by series (second axis).

    Args:
        verdicts: UNKNOWN, SAME, BETTER or WORSE.
        pairs: how many pairs were used; for an unknown one those of the last look it reached.
        p: adjusted for the family and the looks: at most alpha where a change is proven.
        share: that of the last look, by which intervals are made.
    """

    verdicts: npt.NDArray[np.int8]
    pairs: npt.NDArray[np.intp]
    p: Floats
    share: Floats


def follow(gains: Floats, plan: Plan, low: Floats, high: Floats, have: npt.NDArray[np.intp] | None = None) -> Outcome:
    """Follow the plan.

    Args:
        gains: differences of pairs, positive where the candidate is better: validations x series x pairs; untied.
        plan: the looks.
        low: below this a loss matters, for each series.
        high: above this a gain matters, for each series.
        have: how many pairs each series has, validations x series; None: all the plan asks for.
    """
    shape = gains.shape[:2]
    verdicts = np.zeros(shape, dtype=np.int8)
    pairs = np.zeros(shape, dtype=np.intp)
    adjusted = np.ones(shape)
    share_of = np.full(shape, plan.shares[0])
    proven = np.zeros(shape)
    for look, share in zip(plan.looks, plan.shares, strict=True):
        here = (verdicts == UNKNOWN) & (True if have is None else have >= look)
        if not here.any():
            break
        pairs[here], share_of[here] = look, share
        seen = gains[..., :look]
        p, way = signed_rank.p_two_sided(seen)
        tried = here & (proven == 0)
        stepped = _holm(p, tried, proven != 0, plan.family) / (share * SPENT)
        adjusted = np.minimum(adjusted, np.where(tried, stepped, 1.0))
        proven = np.where(tried & (adjusted <= plan.alpha), way, proven)
        worse = here & (proven < 0) & signed_rank.middle_above(-seen, np.broadcast_to(-low, shape))
        better = here & (proven > 0) & signed_rank.middle_above(seen, np.broadcast_to(high, shape))
        verdicts[worse], verdicts[better] = WORSE, BETTER
        verdicts[here & ~worse & ~better & _within(seen, low, high, plan.miss * share)] = SAME
    return Outcome(verdicts, pairs, adjusted, share_of)


def _holm(p: Floats, tried: npt.NDArray[np.bool_], proven: npt.NDArray[np.bool_], family: int) -> Floats:
    """Holm's adjusted p; who is not tried now keeps its place in the family, unless it is proven already."""
    left = family - proven.sum(axis=1, keepdims=True)
    masked = np.where(tried, p, np.inf)
    order = np.argsort(masked, axis=1)
    factor = np.maximum(left - np.arange(p.shape[1]), 1)
    stepped = np.maximum.accumulate(np.take_along_axis(masked, order, axis=1) * factor, axis=1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, stepped, axis=1)
    return np.minimum(adjusted, 1.0)


def _within(seen: Floats, low: Floats, high: Floats, error: float) -> npt.NDArray[np.bool_]:
    above = signed_rank.p_above(seen - np.broadcast_to(low, seen.shape[:2])[..., None])
    under = signed_rank.p_above(np.broadcast_to(high, seen.shape[:2])[..., None] - seen)
    return np.asarray((above <= error) & (under <= error))
