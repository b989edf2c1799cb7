"""The end of a run on the terminal: one screen that says what came out, what took long, what was left out and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Rows of each list below the table. Failures take two lines each and get what is left of the screen, within reason.
_FAILURES = range(1, 9)
_SLOWEST = 3
_REASONS = 4
_WARNINGS = 4


class Verdict(StrEnum):
    """What became of one test; the words are the table's columns."""

    PASSED = "passed"
    FAILED = "failed"
    GUEST = "guest"
    LAB = "lab"
    ERROR = "error"
    KNOWN = "known"
    """It failed as a known issue says (docs/known-issues.md): shown, and no failure of the run."""
    FLAKY = "flaky"
    """It passed only when it was tried again, after the lab had failed it."""
    AWAY = "away"
    """Its host was not available any more: neither passed nor failed."""
    SKIPPED = "skipped"


_STYLE = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "bold red",
    Verdict.GUEST: "bold magenta",
    Verdict.LAB: "bold yellow",
    Verdict.ERROR: "bold red",
    Verdict.KNOWN: "cyan",
    Verdict.FLAKY: "yellow",
    Verdict.AWAY: "yellow",
    Verdict.SKIPPED: "dim",
}
_SHORT = {
    Verdict.PASSED: "pass",
    Verdict.FAILED: "fail",
    Verdict.GUEST: "guest",
    Verdict.LAB: "lab",
    Verdict.ERROR: "error",
    Verdict.KNOWN: "known",
    Verdict.FLAKY: "flaky",
    Verdict.AWAY: "away",
    Verdict.SKIPPED: "skip",
}
FLAKY_STATUS = 10
"""pytest's exit status where it would be 0, but that something passed only when it was tried again."""
_WARNED = "warned"
"""Counted beside the verdicts: a test that warns has passed."""
Counts: TypeAlias = Counter[tuple[str, str, str]]
_BAD = (Verdict.FAILED, Verdict.GUEST, Verdict.LAB, Verdict.ERROR)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test on one pool, as it ended.

    Args:
        suite: ``vcpu``, ``clock`` ...
        check: the check's number; None for a test without one.
        title: what it asserts.
        pool: the pool it ran for.
        host: the member that ran it.
        status: what became of it.
        duration: seconds, set-up and tear-down included.
        reason: why it failed or was skipped; one line.
        repeat: the command line that repeats it.
        twin: the pool's hosts are stand-ins.
        warnings: limits that were exceeded, and that only warn because nobody calibrated them.
    """

    suite: str
    check: str | None
    title: str
    pool: str
    host: str = ""
    status: Verdict = Verdict.PASSED
    duration: float = 0.0
    reason: str = ""
    repeat: str = ""
    twin: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def warned(self) -> bool:
        """It passed, though beyond a limit."""
        return self.status is Verdict.PASSED and bool(self.warnings)

    @property
    def label(self) -> str:
        """Number and title."""
        return f"{self.check} {self.title}" if self.check else self.title


def show(
    outcomes: Sequence[Outcome],
    console: Console,
    *,
    report: Path | str | None = None,
    issues: Sequence[tuple[str, str]] = (),
    spread: str = "",
) -> None:
    """Write the summary.

    Args:
        outcomes: every test of ours that was run or skipped.
        console: where to; its width and its colours are respected.
        report: where the page is, or the command that makes it.
        issues: what there is to say of known issues: a word and a line for each.
        spread: how a run that was spread over workers did; empty for one that was not.
    """
    if outcomes:
        console.print(_table(outcomes, console.width))
        told = _issues(issues, _spare(outcomes, console))
        warnings = _warnings(outcomes, _spare(outcomes, console) - len(told))
        tried = _tried(outcomes)
        _failures(outcomes, console, _room(outcomes, console, len(told) + len(warnings) + len(tried)))
        for line in tried:
            _line(console, line)
        for line in told:
            _line(console, line, fold=True)
        for warning in warnings:
            _line(console, warning)
        if len(told) + len(warnings) <= _spare(outcomes, console):
            _slowest(outcomes, console, most=_SLOWEST - bool(spread))  # one line more elsewhere
        _skips(outcomes, console)
    if spread:
        _line(console, Text.assemble(("spread  ", "bold"), spread))
    if report is not None:
        _line(console, Text.assemble(("report  ", "bold"), str(report)), fold=True)


def text(outcomes: Sequence[Outcome], *, width: int = 100, report: Path | str | None = None) -> str:
    """The summary without colours: for a file, or a terminal that is none."""
    buffer = StringIO()
    show(outcomes, Console(file=buffer, width=width, color_system=None, force_terminal=False), report=report)
    return buffer.getvalue()


def _table(outcomes: Sequence[Outcome], width: int) -> Table:
    suites = list(dict.fromkeys(outcome.suite for outcome in outcomes))
    pools = list(dict.fromkeys(outcome.pool for outcome in outcomes))
    counts: Counts = Counter((outcome.suite, outcome.pool, outcome.status) for outcome in outcomes)
    counts.update((outcome.suite, outcome.pool, _WARNED) for outcome in outcomes if outcome.warned)
    names = {outcome.pool: f"{outcome.pool} (twin)" if outcome.twin else outcome.pool for outcome in outcomes}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=len(suites) > 1)
    table.add_column("suite", footer="all", no_wrap=True)
    # Suites x pools while it fits; otherwise one row a suite and pool.
    if 14 + 30 * len(pools) <= width:
        for pool in pools:
            table.add_column(names[pool], footer=_cell(counts, suites, pool), no_wrap=True)
        for suite in suites:
            table.add_row(suite, *(_cell(counts, [suite], pool) for pool in pools))
    else:
        table.add_column("pool", no_wrap=True)
        table.add_column("", footer=_cell(counts, suites, None), no_wrap=True)
        for suite in suites:
            for number, pool in enumerate(pools):
                table.add_row(suite if number == 0 else "", names[pool], _cell(counts, [suite], pool))
    return table


def _cell(counts: Counts, suites: Iterable[str], pool: str | None) -> Text:
    wanted = set(suites)
    sums: Counter[str] = Counter()
    for (suite, where, status), count in counts.items():
        if suite in wanted and pool in (None, where):
            sums[status] += count
    # Good ones first and aligned: whatever stands behind them catches the eye.
    words = [(f"{sums[Verdict.PASSED]:>3} pass", _STYLE[Verdict.PASSED])]
    words += [(f"({sums[_WARNED]} warn)", "yellow")] if sums[_WARNED] else []
    words += [
        (f"{sums[status]} {_SHORT[status]}", _STYLE[status])
        for status in (*_BAD, Verdict.FLAKY, Verdict.AWAY, Verdict.KNOWN, Verdict.SKIPPED)
        if sums[status]
    ]
    return Text("  ").join(Text(word, style=style) for word, style in words)


def _spare(outcomes: Sequence[Outcome], console: Console) -> int:
    """How many lines the screen has left beside all that is always shown and one failure; a log file has no end."""
    if not console.is_terminal:
        return 1000
    others = len({outcome.suite for outcome in outcomes}) + _SLOWEST + _REASONS + 10
    return max(console.height - others - 2 * _FAILURES.start, 0)


def _room(outcomes: Sequence[Outcome], console: Console, warnings: int) -> int:
    """How many failures fit the screen."""
    spare = _spare(outcomes, console) - warnings
    return min(max(spare // 2 + _FAILURES.start, _FAILURES.start), _FAILURES.stop - 1)


def _failures(outcomes: Sequence[Outcome], console: Console, room: int) -> None:
    bad = [outcome for outcome in outcomes if outcome.status in _BAD]
    for outcome in bad[:room]:
        head = Text(f"{_SHORT[outcome.status]:<6}", style=_STYLE[outcome.status])
        reason = f": {_one_line(outcome.reason)}" if outcome.reason else ""
        _line(console, Text.assemble(head, f"{outcome.label} on {outcome.host or outcome.pool}", (reason, "dim")))
        if outcome.repeat:
            _line(console, Text.assemble("      ", (outcome.repeat, "cyan")), fold=True)
    if len(bad) > room:
        _line(console, Text(f"      and {len(bad) - room} more; the report has them all", style="dim"))
    if bad:
        console.print()


def _tried(outcomes: Sequence[Outcome]) -> list[Text]:
    """What passed only when tried again, and hosts that went away; in few lines, for both may be many."""
    lines = []
    flaky = [outcome for outcome in outcomes if outcome.status is Verdict.FLAKY]
    for outcome in flaky[:_REASONS]:
        where = f"{outcome.label} on {outcome.host or outcome.pool}"
        lines.append(Text.assemble(("flaky ", _STYLE[Verdict.FLAKY]), where, (f": {_one_line(outcome.reason)}", "dim")))
    if len(flaky) > _REASONS:
        lines.append(Text(f"      and {len(flaky) - _REASONS} more; the report has them all", style="dim"))
    away = Counter((one.host or one.pool, _one_line(one.reason)) for one in outcomes if one.status is Verdict.AWAY)
    for (host, reason), count in away.items():
        lines.append(Text.assemble(("away  ", _STYLE[Verdict.AWAY]), f"{count} x  {host}: {reason}"))
    return lines


def _issues(issues: Sequence[tuple[str, str]], spare: int) -> list[Text]:
    """Known issues, those first that somebody must do something about; as many as fit into half of what is spare."""
    urgent = sorted(issues, key=lambda issue: issue[0] == "known")
    room = max(spare // 2, 1)
    lines = []
    for word, line in urgent[:room]:
        style = "cyan" if word == "known" else "bold yellow"
        lines.append(Text.assemble((f"{word:<8}", style), _one_line(line)))
    if len(urgent) > room:
        more = f"        and {len(urgent) - room} more of known issues; the report has them all"
        lines.append(Text(more, style="dim"))
    return lines


def _warnings(outcomes: Sequence[Outcome], spare: int) -> list[Text]:
    """Limits that were exceeded and only warn; where fewer lines are spare than they take, how many there are."""
    warned = [(outcome, warning) for outcome in outcomes if outcome.warned for warning in outcome.warnings]
    if not warned:
        return []
    lines = []
    for outcome, warning in warned[:_WARNINGS]:
        where = f"{outcome.label} on {outcome.host or outcome.pool}"
        lines.append(Text.assemble(("warn  ", "bold yellow"), f"{_one_line(warning)}  ", (where, "dim")))
    more = f"and {len(warned) - _WARNINGS} more; " if len(warned) > _WARNINGS else ""
    lines.append(Text(f"      {more}limits that nobody calibrated only warn: `interop calibrate --help`", style="dim"))
    if len(lines) <= spare:
        return lines
    count = f"{len(warned)} x  beyond a limit that nobody calibrated, and so only warns; the report has them all"
    return [Text.assemble(("warn  ", "bold yellow"), count)]


def _slowest(outcomes: Sequence[Outcome], console: Console, *, most: int) -> None:
    ran = sorted((outcome for outcome in outcomes if outcome.duration >= 1), key=lambda outcome: -outcome.duration)
    for number, outcome in enumerate(ran[:most]):
        lead = "slowest " if number == 0 else "        "
        where = f"{outcome.label} on {outcome.host or outcome.pool}"
        _line(console, Text.assemble((lead, "bold"), f"{_span(outcome.duration):>7}  {where}"))


def _skips(outcomes: Sequence[Outcome], console: Console) -> None:
    reasons = Counter(_general(outcome) for outcome in outcomes if outcome.status is Verdict.SKIPPED)
    for number, (reason, count) in enumerate(reasons.most_common(_REASONS)):
        lead = "skipped " if number == 0 else "        "
        _line(console, Text.assemble((lead, "bold"), f"{count:>5} x  {reason}"))
    if len(reasons) > _REASONS:
        _line(console, Text(f"        and for {len(reasons) - _REASONS} other reasons", style="dim"))


def _general(outcome: Outcome) -> str:
    """A skip's reason without the host it happened on, so that the same lack on two members is one line."""
    reason = _one_line(outcome.reason) or "no reason given"
    for name in filter(None, (outcome.host, outcome.pool)):
        reason = re.sub(rf"^{re.escape(name)}: ", "", reason)
    return reason


def _one_line(reason: str) -> str:
    return " ".join(reason.strip().splitlines()[0].split()) if reason.strip() else ""


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{seconds:.1f} s"


def _line(console: Console, line: Text, *, fold: bool = False) -> None:
    """One line a fact: cut where the terminal ends, except what is there to be copied."""
    if fold:
        console.print(line, soft_wrap=True, highlight=False)
    else:
        console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
