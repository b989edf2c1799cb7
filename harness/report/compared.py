"""A comparison of two runs in words: for a terminal, as Markdown, as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from harness.report.cells import Cell, RunCells
from harness.report.comparing import Change, Changed, Comparison, Difference, Figure, Measured
from harness.report.summary import Verdict
from harness.report.visible import marked

FORMAT = 1
"""Grows when the data's form changes in a way that a reader must know of."""

NO_VERDICT = "one run each: changes of measurements are no verdict, and do not count; `interop validate` gives one"
_REWRITTEN = "; the check itself changed"
_SHOWN = 20
_WHOLE = (Change.FAILING, Change.FAILS_OTHERWISE)
"""What is told to the last row, however many there are."""
_LONGEST = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def text(comparison: Comparison, *, strict: bool = False) -> str:
    """For a terminal: by pool, indented.

    Args:
        comparison: of two runs.
        strict: what is not covered any more counts as worse.
    """
    lines = [*_head(comparison, strict=strict, plain=_plain), ""]
    for name, sections in _sections(comparison, _plain):
        lines.append(name)
        for title, rows in sections:
            lines += [f"  {title}", *(f"    {row}" for row in rows)]
        lines.append("")
    lines += [NO_VERDICT] if comparison.measured else []
    return "\n".join(lines).rstrip() + "\n"


def markdown(comparison: Comparison, *, strict: bool = False) -> str:
    """As Markdown: for a ticket, a merge request, a mail."""
    lines = [f"# {_marked(comparison.before.run)} to {_marked(comparison.after.run)}", ""]
    lines += [f"{line}  " for line in _head(comparison, strict=strict, plain=_marked)]
    for name, sections in _sections(comparison, _marked):
        lines += ["", f"## {name}"]
        for title, rows in sections:
            lines += ["", f"### {title[0].upper()}{title[1:]}", "", *(f"- {row}" for row in rows)]
    lines += ["", f"*{NO_VERDICT}*"] if comparison.measured else []
    return "\n".join(lines) + "\n"


def data(comparison: Comparison, *, strict: bool = False) -> dict[str, Any]:
    """As JSON-able data, everything that there is."""
    return {
        "format": FORMAT,
        "worse": comparison.worse(strict=strict),
        "strict": strict,
        "before": _run(comparison.before),
        "after": _run(comparison.after),
        "changed": [
            {
                "change": one.change.value,
                "worse": one.worse or (strict and one.covers_less),
                "rewritten": comparison.is_rewritten(one.cell),
                "pool": one.cell.pool,
                "check": one.cell.check,
                "part": one.cell.part,
                "params": dict(one.cell.params),
                "title": one.cell.title,
                "before": _cell(one.before),
                "after": _cell(one.after),
            }
            for one in comparison.changed
        ],
        "measured": [
            {
                "pool": one.pool,
                "test": one.label,
                "name": one.name,
                "unit": one.unit,
                "better": one.after.better.value,
                "before": _of_figure(one.before),
                "after": _of_figure(one.after),
                "change": one.change,
                "median_change": one.median_change,
            }
            for one in comparison.measured
        ],
        "rewritten": [
            {
                "pool": cell.pool,
                "check": cell.check,
                "part": cell.part,
                "params": dict(cell.params),
                "title": cell.title,
                "source": cell.source,
            }
            for cell in comparison.rewritten
        ],
        "unsure": comparison.unsure,
        "environment": [
            {"pool": one.pool, "what": one.what, "before": one.before, "after": one.after}
            for one in comparison.differences
        ],
    }


def _head(comparison: Comparison, *, strict: bool, plain: Callable[[str], str]) -> list[str]:
    lines = [f"{word} {plain(_named(run))}" for word, run in (("from", comparison.before), ("to  ", comparison.after))]
    worse = [one for one in comparison.changed if one.worse or (strict and one.covers_less)]
    lines.append(f"{len(worse)} worse" if worse else "nothing got worse")
    if comparison.rewritten:
        lines.append(f"{len(comparison.rewritten)} checks are not what they were: their source changed")
    if comparison.unsure:
        lines.append(
            f"{comparison.unsure} results do not say of which source their check was, or by another kind of digest"
        )
    for word, run in (("from", comparison.before), ("to", comparison.after)):
        if run.broken:
            lines.append(f"{len(run.broken)} results of the run {word} which this is cannot be read")
    return lines


def _named(run: RunCells) -> str:
    when = f", {datetime.fromtimestamp(run.start, tz=UTC):%Y-%m-%d %H:%M} UTC" if run.start else ""
    lab = f" in {run.lab}" if run.lab else ""
    return f"{run.run}{lab}{when}: {len(run.cells)} results"


def _sections(comparison: Comparison, plain: Callable[[str], str]) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """What there is to tell: the run's own differences, then each pool's, in sections of rows."""
    for pool in ("", *comparison.pools):
        sections = []
        of_pool = [one for one in comparison.changed if one.cell.pool == pool]
        for change, group in groupby(of_pool, key=lambda one: one.change):
            rows = [_row(one, plain) + (_REWRITTEN if comparison.is_rewritten(one.cell) else "") for one in group]
            sections.append((change.value, rows if change in _WHOLE else _bounded(rows)))
        rewritten = [plain(one.label) for one in comparison.rewritten if one.pool == pool]
        if rewritten:
            sections.append(("checks that changed", _bounded(rewritten)))
        figures = [one for one in comparison.measured if one.pool == pool]
        if figures:
            sections.append(("measurements", _bounded([_figures(one, plain) for one in figures])))
        differences = [_difference(one, plain) for one in comparison.differences if one.pool == pool]
        if differences:
            sections.append(("environment", differences))
        if sections:
            yield plain(pool) or "run", sections


def _bounded(rows: list[str]) -> list[str]:
    more = len(rows) - _SHOWN
    return [*rows[:_SHOWN], f"and {more} more; --format json has them all"] if more > 0 else rows


def _row(changed: Changed, plain: Callable[[str], str]) -> str:
    words = plain(changed.cell.label)
    if changed.after is None:
        was = changed.before.status.value if changed.before else ""
        return f"{words} ({was} before)"
    was_not_there = "new, " if changed.change is Change.FAILING else ""
    before = f"{changed.before.status.value}, now " if changed.before else was_not_there
    again = " when tried again" if changed.after.status is Verdict.FLAKY else ""
    reason = f": {plain(changed.after.reason)}" if changed.after.reason else ""
    tracker = f" {plain(changed.after.tracker)}" if changed.after.tracker else ""
    return f"{words} ({before}{changed.after.status.value}{again}){tracker}{reason}"


def _figures(measured: Measured, plain: Callable[[str], str]) -> str:
    unit = f" {measured.unit}" if measured.unit else ""
    words = f"{plain(measured.label)}: {plain(measured.name)} {_both(measured.before.value, measured.after.value)}"
    words += f"{plain(unit)} ({_percent(measured.change)}, {measured.after.better.value} is better)"
    if measured.before.median is not None and measured.after.median is not None:
        medians = _both(measured.before.median, measured.after.median)
        counts = f"{measured.before.samples} and {measured.after.samples} samples"
        words += f"; medians of {counts} {medians} ({_percent(measured.median_change)})"
    around = [one.circumstances for one in (measured.before, measured.after)]
    if around[0] != around[1]:
        old, new = (plain(words or "unknown circumstances") for words in around)
        words += f"; taken under: {old}, and now: {new}"
    elif "not in quiet" in around[0]:
        words += "; not in quiet"
    return words


def _difference(difference: Difference, plain: Callable[[str], str]) -> str:
    return f"{plain(difference.what)}: {plain(difference.before) or 'none'} -> {plain(difference.after) or 'none'}"


def _both(before: float, after: float) -> str:
    return f"{before:.4g} -> {after:.4g}"


def _percent(change: float | None) -> str:
    return "from 0" if change is None else f"{change:+.1%}"


def _plain(said: str) -> str:
    """What results say, and so perhaps a guest: in one line, bounded, without control characters."""
    safe = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", said)
    return safe if len(safe) <= _LONGEST else f"{safe[: _LONGEST - 4]} ..."


def _marked(said: str) -> str:
    """The same for Markdown, in which it means nothing but itself."""
    return marked(_plain(said))


def _run(run: RunCells) -> dict[str, Any]:
    names: Sequence[str] = ("run", "lab", "image", "digest", "build", "kernel", "release", "harness")
    return {name: getattr(run, name) for name in names} | {
        "results": str(run.results),
        "count": len(run.cells),
        "broken": [str(path) for path in run.broken],
    }


def _cell(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {
        "status": cell.status.value,
        "reason": cell.reason,
        "host": cell.host,
        "tracker": cell.tracker,
        "earlier": [status.value for status in cell.earlier],
        "duration": cell.duration,
        "uuid": cell.uuid,
    }


def _of_figure(figure: Figure) -> dict[str, Any]:
    return {
        "value": figure.value,
        "count": figure.count,
        "samples": figure.samples,
        "median": figure.median,
        "circumstances": figure.circumstances,
    }
