"""Measurements of both sides as pairs, and what the judgement on them has against a PASS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.measure import Better
from harness.measure.judge import Finding, Series, Verdict, judge
from harness.validation.cells import SideName
from harness.validation.deciding import Reason, Word
from harness.validation.wanted import Wanted


@dataclass(frozen=True, slots=True, order=True)
class Which:
    """A measurement of one check on one pool.

    Args:
        check: the check's number.
        name: the measurement's name; parameters of the check stand behind it, in brackets.
        pool: where.
    """

    check: str
    name: str
    pool: str


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement of one round.

    Args:
        which: of what.
        value: the figure.
        unit: its unit.
        better: which way it improves.
        host: the member of the pool that it was taken on.
        samples: the raw values it was made from.
    """

    which: Which
    value: float
    unit: str
    better: Better
    host: str
    samples: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Paired:
    """The pairs of a validation.

    Args:
        series: every measurement that is judged, with its pairs.
        lost: by measurement, how many pairs do not count, because a side is missing or ran on another host.
        missing: what the release file asks for and nobody took.
    """

    series: tuple[Series, ...]
    lost: Mapping[Which, int]
    missing: tuple[str, ...] = ()


def pair(rounds: Iterable[tuple[int, SideName, Sequence[Taken]]], wanted: Wanted | None) -> Paired:
    """Line up the rounds of both sides.

    Args:
        rounds: for each round the number of its pair, its side, and what was taken in it.
        wanted: says what is judged and what loss does not matter; None: everything, and any loss matters.
    """
    sides: dict[Which, dict[tuple[int, str], dict[SideName, Taken]]] = defaultdict(lambda: defaultdict(dict))
    hosts: dict[tuple[Which, int], set[str]] = defaultdict(set)
    for number, side, everything in rounds:
        for taken in everything:
            # Of a test that a lab failure repeated within its round, the last one counts.
            sides[taken.which][number, taken.host][side] = taken
            hosts[taken.which, number].add(taken.host)
    series, lost = [], {}
    for which, there in sorted(sides.items()):
        practical = 0.0 if wanted is None else wanted.practical(which.check, which.name)
        if practical is None:
            continue
        whole = [both for _, both in sorted(there.items()) if len(both) == len(SideName)]
        if alone := len(there) - len(whole):
            lost[which] = alone
        one = next(iter(next(iter(there.values())).values()))
        series.append(
            Series(
                which.check,
                which.name,
                which.pool,
                one.better,
                one.unit,
                tuple(both[SideName.BASELINE].value for both in whole),
                tuple(both[SideName.CANDIDATE].value for both in whole),
                practical,
            )
        )
    missing = [
        f"{figure.check} {figure.name}"
        for figure in (wanted.figures if wanted else ())
        if not any(figure.covers(one.check, one.name) for one in series)
    ]
    return Paired(tuple(series), lost, tuple(missing))


def findings(paired: Paired, budget: int) -> tuple[Finding, ...]:
    """The judgement on every series, family-wise over the whole validation.

    Args:
        paired: the pairs there are.
        budget: pairs that were allowed at most; fixed before the first.
    """
    return judge(paired.series, budget=max(budget, 1)) if paired.series else ()


def more(found: Sequence[Finding], pairs: int, budget: int) -> int:
    """How many pairs to run before it makes sense to judge again; 0: all is decided, or the budget is spent."""
    needed = [finding.more for finding in found if finding.verdict is Verdict.UNKNOWN]
    return min(min(needed), budget - pairs) if needed and pairs < budget else 0


def against(found: Sequence[Finding], paired: Paired) -> list[Reason]:
    """What stands against a PASS."""
    reasons = []
    for finding in found:
        series = finding.series
        what = f"{series.check} {series.name}"
        if finding.verdict is Verdict.WORSE:
            reasons.append(Reason(Word.FAIL, what, series.pool, finding.words))
        elif finding.verdict is Verdict.UNKNOWN:
            reasons.append(Reason(Word.INCONCLUSIVE, what, series.pool, finding.words))
    reasons += [
        Reason(Word.INCONCLUSIVE, what, "every pool", "is asked for and was never measured") for what in paired.missing
    ]
    return reasons
