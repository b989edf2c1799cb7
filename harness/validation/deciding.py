"""What PASS means: from the results of both sides to one word, with a reason for each thing that is in its way.

The rules, for one cell (a test on a pool), are a table: :func:`_of_cell`. Over all cells the gravest word counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.report.summary import Verdict
from harness.validation.cells import Cell, Ran, SideName
from harness.validation.wanted import Wanted


class Word(StrEnum):
    """How a validation ends."""

    PASS = "PASS"  # noqa: S105  a verdict
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    LAB = "LAB FAILURE"


EXIT = {Word.PASS: 0, Word.FAIL: 1, Word.INCONCLUSIVE: 3, Word.LAB: 4}
"""Exit statuses; 2 is bad input, as in click."""
BISECT_SKIP = 125
"""What ``git bisect run`` reads as: this one cannot be tested."""

# Evidence against the candidate outweighs what is missing; a lab that failed outweighs what it left open.
_GRAVITY = (Word.FAIL, Word.LAB, Word.INCONCLUSIVE)


class Came(StrEnum):
    """What a cell came to on one side, over all its runs."""

    PASSED = "passed"
    FAILED = "failed"
    GUEST = "guest"
    ERROR = "error"
    FLAKY = "flaky"
    SKIPPED = "skipped"
    KNOWN = "known"
    LAB = "lab"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is in the way of a PASS.

    Args:
        word: what it makes of the validation.
        what: the check or measurement, as the report shows it.
        pool: where.
        words: why, as a sentence.
        said: what the failing test said; untrusted text.
        hosts: the members of the pool that showed it.
    """

    word: Word
    what: str
    pool: str
    words: str
    said: str = ""
    hosts: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = self.pool if self.hosts in ((), (self.pool,)) else f"{self.pool} ({', '.join(self.hosts)})"
        return f"{self.what} on {where}: {self.words}" + (f": {self.said}" if self.said else "")


@dataclass(frozen=True, slots=True)
class Row:
    """A cell with both sides.

    Args:
        cell: which.
        required: it must pass.
        baseline: what it came to there.
        candidate: what it came to there.
        runs: how many runs it had on both sides together.
    """

    cell: Cell
    required: bool
    baseline: Came
    candidate: Came
    runs: int

    @property
    def differs(self) -> bool:
        """The sides came to different ends."""
        return self.baseline is not self.candidate


@dataclass(frozen=True, slots=True)
class Decision:
    """How a validation ended.

    Args:
        word: the verdict.
        reasons: everything in the way of a PASS, gravest first.
        notes: what a reader must know though it changes nothing: exceptions, losses outside what was required.
        rows: every cell.
        rehearsal: twins or emulation took part, and were allowed to.
    """

    word: Word
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    rehearsal: bool


def decide(
    runs: Sequence[Ran], wanted: Wanted, *, measured: Iterable[Reason] = (), allow_twins: bool = False
) -> Decision:
    """Judge the results of both sides.

    Args:
        runs: every result of every round.
        wanted: what the release file demands.
        measured: what the measurements have against a PASS.
        allow_twins: stand-ins and emulation count; the decision is a rehearsal then.
    """
    cells: dict[str, list[Ran]] = defaultdict(list)
    for ran in runs:
        cells[ran.cell.key].append(ran)
    rows = tuple(sorted((_row(found, wanted) for found in cells.values()), key=lambda row: row.cell))
    reasons = [reason for row in rows for reason in _of_cell(row, cells[row.cell.key], allow_twins=allow_twins)]
    reasons += [*_never_seen(rows, wanted), *_lost_pools(runs, wanted), *measured]
    reasons.sort(key=lambda reason: (_GRAVITY.index(reason.word), reason.pool, reason.what))
    return Decision(
        word=reasons[0].word if reasons else Word.PASS,
        reasons=tuple(reasons),
        notes=tuple(_notes(rows)),
        rows=rows,
        rehearsal=allow_twins and any(ran.twin or ran.emulated for ran in runs),
    )


def came(runs: Sequence[Ran]) -> Came:
    """What the runs of a cell on one side amount to.

    A lab failure says nothing of the product: the other runs count, where there are any.
    """
    said = {ran.status for ran in runs} - {Verdict.LAB}
    if not said:
        return Came.LAB if runs else Came.MISSING
    bad = said & {Verdict.FAILED, Verdict.GUEST, Verdict.ERROR, Verdict.KNOWN}
    if Verdict.FLAKY in said or (Verdict.PASSED in said and bad):
        return Came.FLAKY
    # The worst that was seen; that some runs were skipped and others not is for a reader to look into.
    for status in (Verdict.GUEST, Verdict.FAILED, Verdict.ERROR, Verdict.KNOWN, Verdict.SKIPPED, Verdict.PASSED):
        if status in said:
            return Came(str(status))
    raise AssertionError(f"unknown statuses: {said}")


def suspicious(runs: Sequence[Ran]) -> tuple[str, ...]:
    """Checks that failed on the candidate's side alone, once: worth one more pair before anything is said."""
    cells: dict[str, list[Ran]] = defaultdict(list)
    for ran in runs:
        cells[ran.cell.key].append(ran)
    found = {
        each[0].cell.check
        for each in cells.values()
        if _side(each, SideName.BASELINE)[0] is Came.PASSED
        and _side(each, SideName.CANDIDATE)[0] in (Came.FAILED, Came.GUEST, Came.ERROR)
    }
    return tuple(sorted(found))


def _side(runs: Sequence[Ran], side: SideName) -> tuple[Came, list[Ran]]:
    there = [ran for ran in runs if ran.side is side]
    return came(there), there


def _row(runs: Sequence[Ran], wanted: Wanted) -> Row:
    cell = runs[0].cell
    return Row(
        cell=cell,
        required=wanted.requires(cell.check, cell.pool),
        baseline=_side(runs, SideName.BASELINE)[0],
        candidate=_side(runs, SideName.CANDIDATE)[0],
        runs=len(runs),
    )


_BAD = (Verdict.FAILED, Verdict.GUEST, Verdict.ERROR, Verdict.KNOWN)
_NOTHING_KNOWN = {
    Came.MISSING: "has no result",
    Came.SKIPPED: "was skipped",
    Came.FLAKY: "passed and failed: flaky",
    Came.LAB: "met lab failures only",
    Came.ERROR: "ended in an error of the test or the harness, which says nothing of the product",
}


def _of_cell(row: Row, runs: Sequence[Ran], *, allow_twins: bool) -> list[Reason]:
    """The table of a cell.

    =========  =============  =========================================================
    baseline   candidate      required or not
    =========  =============  =========================================================
    passed     failed         FAIL, a regression
    not guest  guest          FAIL: the guest failed on the candidate's side alone
    passed     known          FAIL: a known issue excuses no regression
    failed     failed         required: FAIL, not met though no regression; else a note
    any        nothing known  required: INCONCLUSIVE (missing, skipped, flaky, lab, error)
    =========  =============  =========================================================
    """
    if words := _regression(row) or (_not_met(row) if row.required else ""):
        bad = [ran for ran in runs if ran.side is SideName.CANDIDATE and ran.status in _BAD]
        found = [_reason(Word.FAIL, row, words, bad, said=bad[0].reason)]
    else:
        found = []
    return found + (_open(row, runs, allow_twins=allow_twins) if row.required else [])


def _regression(row: Row) -> str:
    if row.candidate is Came.GUEST and row.baseline is not Came.GUEST:
        return f"the guest failed on the candidate's side alone (baseline: {row.baseline})"
    if row.baseline is Came.PASSED and row.candidate is Came.FAILED:
        return "passes with the baseline and fails with the candidate"
    if row.baseline is Came.PASSED and row.candidate is Came.KNOWN:
        return "a known issue that the baseline does not show excuses no regression"
    return ""


def _not_met(row: Row) -> str:
    if row.candidate not in (Came.FAILED, Came.GUEST):
        return ""
    if row.baseline is row.candidate:
        return "is required and fails with the candidate, as with the baseline: no regression, but not met"
    return f"is required and fails with the candidate (baseline: {row.baseline})"


def _open(row: Row, runs: Sequence[Ran], *, allow_twins: bool) -> list[Reason]:
    """What a required cell leaves open."""
    found = []
    states = {SideName.BASELINE: row.baseline, SideName.CANDIDATE: row.candidate}
    for state in dict.fromkeys(states.values()):
        if state in _NOTHING_KNOWN:
            sides = [side for side, came in states.items() if came is state]
            there = [ran for ran in runs if ran.side in sides and ran.status != Verdict.PASSED]
            words = f"is required and {_NOTHING_KNOWN[state]} ({'both sides' if len(sides) > 1 else sides[0]})"
            said = there[0].reason if there else ""
            found.append(_reason(Word.INCONCLUSIVE, row, words, there or runs, said=said))
    if not allow_twins:
        on = {"a twin": [ran for ran in runs if ran.twin], "emulation": [ran for ran in runs if ran.emulated]}
        found += [
            _reason(Word.INCONCLUSIVE, row, f"is required and ran on {what}", there)
            for what, there in on.items()
            if there
        ]
    return found


def _reason(word: Word, row: Row, words: str, runs: Sequence[Ran], said: str = "") -> Reason:
    return Reason(word, row.cell.shown, row.cell.pool, words, said, tuple(dict.fromkeys(ran.host for ran in runs)))


def _never_seen(rows: Sequence[Row], wanted: Wanted) -> list[Reason]:
    """Lines of the list that not one result answers."""
    return [
        Reason(Word.INCONCLUSIVE, line.check, pool, "is required and has no result on either side")
        for line in wanted.required
        for pool in line.pools
        if not any(line.covers(row.cell.check, pool) and row.cell.pool == pool for row in rows)
    ]


def _lost_pools(runs: Sequence[Ran], wanted: Wanted) -> list[Reason]:
    """Required pools where one side came to nothing but lab failures: the lab must be put right first."""
    found = []
    for pool in dict.fromkeys(pool for line in wanted.required for pool in line.pools):
        for side in SideName:
            there = [ran for ran in runs if ran.cell.pool == pool and ran.side is side]
            there = [ran for ran in there if ran.status != Verdict.SKIPPED]
            if there and all(ran.status == Verdict.LAB for ran in there):
                words = f"every test of the {side} met a lab failure"
                hosts = tuple(dict.fromkeys(ran.host for ran in there))
                found.append(Reason(Word.LAB, "the lab", pool, words, there[0].reason, hosts))
    return found


def _notes(rows: Sequence[Row]) -> Iterable[str]:
    for row in rows:
        where = f"{row.cell.shown} on {row.cell.pool}"
        if Came.KNOWN in (row.baseline, row.candidate) and not (
            row.baseline is Came.PASSED and row.candidate is Came.KNOWN
        ):
            yield f"{where}: a known issue (baseline {row.baseline}, candidate {row.candidate})"
        elif not row.required and row.baseline is row.candidate and row.candidate in (Came.FAILED, Came.GUEST):
            yield f"{where}: fails on both sides; not required"
        elif not row.required and Came.FLAKY in (row.baseline, row.candidate):
            yield f"{where}: flaky (baseline {row.baseline}, candidate {row.candidate}); not required"
        elif row.candidate is Came.PASSED and row.baseline in (Came.FAILED, Came.GUEST):
            yield f"{where}: failed with the baseline and passes with the candidate"
