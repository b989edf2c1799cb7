"""Verdicts: a baseline and a candidate compared by pairs, a whole validation at once.

What makes the verdicts trustworthy stands beside: :mod:`~harness.measure.plan` (when one may look, in what order sides
run), :mod:`~harness.measure.signed_rank` (the test), :mod:`~harness.measure.sequential` (the procedure), and what it
was measured to do in ``docs/verdicts.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from harness.core import UsageError
from harness.measure.measurement import Better
from harness.measure.plan import ALPHA, Plan, least

if TYPE_CHECKING:  # scipy is an extra and takes a second to load
    from harness.measure.gains import Gains

PRACTICAL = 0.05
"""A relative change that matters to nobody, where the release says nothing else."""


class Verdict(StrEnum):
    """What comparing two sides says."""

    SAME = "same"
    """Whatever changed is within the practical limits."""
    BETTER = "better"
    WORSE = "worse"
    UNKNOWN = "unknown"
    """Too few pairs to tell."""


@dataclass(frozen=True, slots=True)
class Series:
    """One measurement on one pool, of both sides.

    Args:
        check: the check's number.
        name: the measurement's.
        pool: where it was taken.
        better: which way it improves.
        unit: of the samples.
        baseline: one value a round, in the order of rounds.
        candidate: the value of the same round.
        practical: a relative change, up or down, that does not matter: 0.05 is 5 % of the baseline.
        floor: an absolute change, in ``unit``, that does not matter, however large a part of a tiny baseline it is.

    Raises:
        UsageError: sides of different length, a value that is not finite, a negative limit.
    """

    check: str
    name: str
    pool: str
    better: Better
    unit: str
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    practical: float = PRACTICAL
    floor: float = 0.0

    def __post_init__(self) -> None:
        if len(self.baseline) != len(self.candidate):
            sides = f"{len(self.baseline)} values of the baseline, {len(self.candidate)} of the candidate"
            raise UsageError(f"{self}: a pair has two sides, and there are {sides}")
        if not all(map(math.isfinite, (*self.baseline, *self.candidate, self.practical, self.floor))):
            raise UsageError(f"{self}: every value must be a finite number")
        if self.practical < 0 or self.floor < 0:
            raise UsageError(f"{self}: a practical limit is 0 or more")

    def __str__(self) -> str:
        return f"{self.check} {self.name} on {self.pool}"

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return len(self.baseline)


@dataclass(frozen=True, slots=True)
class Finding:
    """What there is to say of one series.

    Args:
        series: it.
        verdict: same, better, worse or unknown.
        change: relative to the baseline, positive where better: -0.1 is 10 % worse.
        interval: of the change; each end is beyond the truth by chance 5 % at most, however often was looked.
            Infinite where there are too few pairs for one.
        p: adjusted for the family and the looks; at most alpha where some change is proven.
        more: pairs still needed, 0 if decided. Within the budget: up to the next look, where judging makes sense
            again. Beyond it: what would be needed in all, less what there is, as far as these pairs can tell.
        shape: what is odd about the samples: "", "two modes", "drifts", "drifts, two modes".
        words: one line for people.
        pairs: how many pairs the verdict rests on.
    """

    series: Series
    verdict: Verdict
    change: float
    interval: tuple[float, float]
    p: float
    more: int
    shape: str
    words: str
    pairs: int = 0


def judge(series: Sequence[Series], *, alpha: float = ALPHA, budget: int) -> tuple[Finding, ...]:
    """Judge a whole validation: of equal sides, the chance of any `better` or `worse` is at most ``alpha`` in all.

    Judging again as pairs come in is part of the procedure and costs nothing, on three conditions: every call is given
    the whole family, decided series too; ``budget`` was fixed before the first pair; and a coin said for each round
    which side ran first (:func:`harness.measure.plan.candidate_first`). A verdict, once given, stays.

    Args:
        series: every measurement of the validation, with the pairs there are by now; some may have more than others.
        alpha: family-wise, over all looks.
        budget: pairs of each series at most; more than these are not looked at.

    Returns:
        A finding for each series, in their order.

    Raises:
        UsageError: there is nothing to judge, or scipy is not installed.
    """
    if not series:
        return ()
    plan = Plan.of(len(series), budget, alpha)
    try:
        import numpy as np  # noqa: PLC0415  an extra, and a second to load

        from harness.measure import gains, sequential  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("numpy", "scipy"):
            raise
        hint = "pip install 'interop-harness[verdicts]'"
        raise UsageError("comparing measurements needs scipy, which is not installed", hint=hint) from error

    found = [gains.of(one) for one in series]
    table = np.zeros((1, len(series), budget))
    for row, one in zip(table[0], found, strict=True):
        row[: len(one.values)] = one.values[:budget]
    low, high = np.array([[one.low for one in found]]), np.array([[one.high for one in found]])
    have = np.array([[min(one.pairs, budget) for one in series]])
    outcome = sequential.follow(table, plan, low, high, have)
    verdicts = {
        sequential.UNKNOWN: Verdict.UNKNOWN,
        sequential.SAME: Verdict.SAME,
        sequential.BETTER: Verdict.BETTER,
        sequential.WORSE: Verdict.WORSE,
    }
    return tuple(
        _finding(
            one,
            found[at],
            plan,
            verdicts[int(outcome.verdicts[0, at])],
            used=int(outcome.pairs[0, at]),
            p=float(outcome.p[0, at]),
            error=plan.miss * float(outcome.share[0, at]),
        )
        for at, one in enumerate(series)
    )


def _finding(
    series: Series, gains: Gains, plan: Plan, verdict: Verdict, *, used: int, p: float, error: float
) -> Finding:
    from harness.measure import needed, shapes, signed_rank  # noqa: PLC0415  numpy and scipy, see judge

    pairs = used if verdict is not Verdict.UNKNOWN else min(series.pairs, plan.looks[-1])
    middle, low, high = signed_rank.estimate(gains.values[:pairs], error) if pairs else (0.0, -math.inf, math.inf)
    change, interval = gains.change(middle), (gains.change(low), gains.change(high))
    more = 0
    if verdict is Verdict.UNKNOWN:
        total = needed.in_all(gains.values[:pairs], middle, gains, plan)
        if not plan.enough:
            total = max(total, least(plan.family, plan.alpha))
        following = plan.after(pairs) if plan.enough else None
        more = max(following or total, pairs + 1) - pairs
    shape = shapes.shape(series, gains, middle)
    finding = Finding(series, verdict, change, interval, p, more, shape, "", pairs)
    return replace(finding, words=_words(finding, plan))


_ODD = {
    "two modes": "its samples have two modes, so no single figure describes them",
    "drifts": "the machine drifted meanwhile, which pairs in random order are proof against",
}


def _words(finding: Finding, plan: Plan) -> str:
    pairs, series = finding.pairs, finding.series
    low, high = finding.interval
    span = f"between {_percent(low)} and {_percent(high)}" if high - low < math.inf else "with no interval yet"
    if not pairs:
        text = "unknown: there are no pairs"
    elif finding.verdict is Verdict.UNKNOWN:
        proven = "some change is proven, not whether it matters; " if finding.p <= plan.alpha else ""
        text = f"unknown after {pairs} pairs: {proven}the change is {_percent(finding.change)}, {span}"
    elif finding.verdict is Verdict.SAME:
        text = f"same: the change is {span}, which does not matter ({pairs} pairs)"
    else:
        middles = [f"{median(side[:pairs]):.4g} {series.unit}".rstrip() for side in (series.baseline, series.candidate)]
        evidence = f"{span}; {' to '.join(middles)}; p {finding.p:.2g} over the whole validation; {pairs} pairs"
        text = f"{finding.verdict} by {abs(finding.change):.1%} ({evidence})"
    wanting = _wanting(finding, plan) if finding.verdict is Verdict.UNKNOWN else ""
    return "; ".join([text + wanting, *(_ODD[odd] for odd in finding.shape.split(", ") if odd)])


def _wanting(finding: Finding, plan: Plan) -> str:
    budget = plan.looks[-1]
    if not plan.enough:
        few = least(plan.family, plan.alpha, plan.shares[-1], spare=0)
        return f"; a budget of {budget} pairs proves nothing among {plan.family} series, {few} are the least"
    if plan.after(finding.pairs) is not None:
        return f"; the next {finding.more} pairs may tell"
    return f"; the budget of {budget} pairs is spent, about {finding.pairs + finding.more} would tell"


def _percent(part: float) -> str:
    return f"{round(part, 3) + 0.0:+.1%}"
