"""Measurements of both sides as pairs, and what the judgement on them has against a PASS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.core import LabError
from harness.measure import Better, records
from harness.measure.judge import Finding, Series, Verdict, judge
from harness.measure.records import Recorded
from harness.validation.cells import EMULATED, SideName
from harness.validation.deciding import Reason, Word
from harness.validation.wanted import Wanted

_BUSY = 2
"""Processes for each of the controller's processors above which others were at work there than the guest under test,
which may have a vCPU for each. A lease keeps our own tests away, and nobody else."""


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
        twin: that is a stand-in, or ran its vCPUs without hardware: the figure is none of the product's.
        loud: what kept it from being taken in quiet, in words; empty: nothing.
    """

    which: Which
    value: float
    unit: str
    better: Better
    host: str
    twin: bool = False
    loud: str = ""


@dataclass(frozen=True, slots=True)
class Paired:
    """The pairs of a validation.

    Args:
        series: every measurement that is judged, with its pairs.
        lost: by measurement, how many pairs do not count, because a side is missing or ran on another host.
        missing: what the release file asks for and nobody took.
        twins: those that a stand-in or an emulated host gave.
        loud: by measurement, what its rounds were not alone with.
    """

    series: tuple[Series, ...]
    lost: Mapping[Which, int]
    missing: tuple[str, ...] = ()
    twins: frozenset[Which] = frozenset()
    loud: Mapping[Which, str] = field(default_factory=dict)


def read(results: Path) -> list[Taken]:
    """The measurements of a run.

    Raises:
        LabError: a file cannot be read; they are written whole, so somebody changed it.
    """
    told = records.read(results)
    if told.damaged:
        raise LabError(told.damaged[0], hint="is this folder as the runs left it?")
    return [_taken(one) for one in told]


def _taken(one: Recorded) -> Taken:
    values = ", ".join([*filter(None, [one.part]), *(f"{name}={value}" for name, value in sorted(one.params))])
    name = f"{one.measurement.name} ({values})" if values else one.measurement.name
    around = one.circumstances
    loud = f"beside {', '.join(around.neighbours)}" if around.neighbours else "" if around.quiet else "not in quiet"
    if not loud and around.disturbed:
        loud = f"while others used {around.foreign_worst:.0%} of the host"
    if not loud and around.load is not None and around.load > _BUSY * (around.processors or 1):
        loud = f"while {around.load:.1f} processes wanted {around.processors or 1} processors of the controller"
    return Taken(
        Which(one.check or one.test, name, one.pool),
        one.measurement.value,
        one.measurement.unit,
        one.measurement.better,
        one.host,
        twin=around.twin or around.accel in EMULATED,
        loud=loud,
    )


def pair(rounds: Iterable[tuple[int, SideName, Sequence[Taken]]], wanted: Wanted | None) -> Paired:
    """Line up the rounds of both sides.

    Args:
        rounds: for each round the number of its pair, its side, and what was taken in it.
        wanted: says what is judged and what loss does not matter; None: everything, and any loss matters.
    """
    sides: dict[Which, dict[tuple[int, str], dict[SideName, Taken]]] = defaultdict(lambda: defaultdict(dict))
    twins: set[Which] = set()
    loud: dict[Which, str] = {}
    for number, side, everything in rounds:
        for taken in everything:
            # Of a test that a lab failure repeated within its round, the last one counts.
            sides[taken.which][number, taken.host][side] = taken
            if taken.twin:
                twins.add(taken.which)
            if taken.loud:
                loud[taken.which] = taken.loud
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
        if figure.named and not any(figure.covers(one.check, one.name) for one in series)
    ]
    return Paired(tuple(series), lost, tuple(missing), frozenset(twins), loud)


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
    return min(*needed, budget - pairs) if needed and pairs < budget else 0


def against(found: Sequence[Finding], paired: Paired, *, allow_twins: bool = False) -> list[Reason]:
    """What stands against a PASS.

    Args:
        found: the judgement.
        paired: the pairs behind it.
        allow_twins: figures of stand-ins and emulated hosts count.
    """
    reasons = []
    for finding in found:
        series = finding.series
        what = f"{series.check} {series.name}"
        if finding.verdict is Verdict.WORSE:
            reasons.append(Reason(Word.FAIL, what, series.pool, finding.words))
        elif finding.verdict is Verdict.UNKNOWN:
            reasons.append(Reason(Word.INCONCLUSIVE, what, series.pool, finding.words))
        if not allow_twins and Which(series.check, series.name, series.pool) in paired.twins:
            words = "is asked for and was measured on a twin or under emulation"
            reasons.append(Reason(Word.INCONCLUSIVE, what, series.pool, words))
    reasons += [
        Reason(Word.INCONCLUSIVE, what, "every pool", "is asked for and was never measured") for what in paired.missing
    ]
    return reasons
