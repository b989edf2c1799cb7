"""Tests x hypervisors, made of results and of the runs before: what each cell says."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import TypeAlias

from harness.core import UsageError
from harness.measure import Better
from harness.report.cells import Cell, RunCells
from harness.report.history import SHOWN, Night, of
from harness.report.matrix import sparks
from harness.report.matrix.model import Column, Measured, Row, Shown, Table, Value
from harness.report.measured import Figure
from harness.report.quantities import Scale, change
from harness.report.summary import Verdict

# How the plugin's skips begin that say what a host cannot do, with the host's name in front.
_GAP = re.compile(r"^(?:Skipped: )?(?:\S+ )?cannot(?: show this)?: ")
Taken: TypeAlias = tuple[Cell, tuple[Figure, ...]]
"""A result and what it measured."""
_STEADY = 6
"""Runs from which on their spread says how well a single one is known."""
_FEW = 12
"""Runs that a sparkline has room for at least: two fill no line."""
_CONSISTENT = 1.4826
"""Median absolute deviation to standard deviation, of a normal distribution."""


def table(runs: Sequence[RunCells], history: Iterable[Night] = (), *, reference: str = "") -> Table:
    """Put runs side by side.

    Args:
        runs: what each came to; of several results of one test on one column the newest shows.
        history: earlier runs, for sparklines; where those of ``runs`` are among them, what they measured is taken
            from here.
        reference: name of a pool; empty: the first that is no twin.

    Raises:
        UsageError: nothing ran, or no column is of that pool.
    """
    ordered = sorted(runs, key=lambda run: (run.start, run.run))
    nights = {(night.lab, night.run): night for night in history}
    nights |= {(run.lab, run.run): of(run) for run in ordered if (run.lab, run.run) not in nights}
    found: dict[tuple[str, ...], Column] = {}
    cells: dict[tuple[str, ...], dict[tuple[object, ...], Taken]] = {}
    for run in ordered:
        night = nights[run.lab, run.run]
        here = {pool: _column(night, pool) for pool in night.pools}
        measured = {entry.key: entry.figures for entry in night.entries}
        for cell in run.cells:
            column = here[cell.pool]
            found[column.key] = column
            cells.setdefault(column.key, {})[cell.key] = cell, measured.get((*cell.key, cell.pool), ())
    if not found:
        raise UsageError("no results of any pool: there is nothing to put side by side")
    columns = tuple(column for _, column in sorted(found.items()))
    chosen = _reference(columns, reference)
    past = [_Past(column, nights.values()) for column in columns]
    keys = sorted({key for of_column in cells.values() for key in of_column}, key=_natural)
    rows = [_row([cells[column.key].get(key) for column in columns], past, chosen) for key in keys]
    counted = [Counter(row.cells[number].word for row in rows) for number in range(len(columns))]
    return Table(
        tuple(replace(column, counts=dict(counts)) for column, counts in zip(columns, counted, strict=True)),
        tuple(rows),
        chosen,
        datetime.fromtimestamp(int(max(run.start for run in ordered)), tz=UTC),
        tuple(dict.fromkeys(run.run for run in ordered)),
    )


class _Past:
    """The last runs of a column, looked up by test."""

    def __init__(self, column: Column, nights: Iterable[Night]) -> None:
        # An image that is built anew each night stays the same to its history; another image or release does not.
        mine = [
            night
            for night in nights
            if night.kind == (column.lab, column.image, column.release) and column.pool in night.pools
        ]
        self.nights = sorted(mine, key=lambda night: (night.start, night.run))[-SHOWN:]
        self.slots = max(len(self.nights), _FEW)
        self._entries = [
            {entry.key: entry for entry in night.entries if entry.pool == column.pool} for night in self.nights
        ]

    def states(self, cell: Cell) -> list[Verdict | None]:
        found = [entries.get((*cell.key, cell.pool)) for entries in self._entries]
        return [entry.status if entry else None for entry in found]

    def values(self, cell: Cell, name: str) -> list[float | None]:
        found = [entries.get((*cell.key, cell.pool)) for entries in self._entries]
        figures = [{one.name: one.value for one in entry.figures} if entry else {} for entry in found]
        return [values.get(name) for values in figures]


def _column(night: Night, pool: str) -> Column:
    facts = night.pools[pool]
    return Column(
        pool,
        night.lab,
        facts.product or "unknown product",
        facts.build,
        facts.accel,
        facts.twin,
        night.image,
        (night.build or night.digest)[:8],
        night.release,
        night.run,
    )


def _reference(columns: Sequence[Column], wanted: str) -> int:
    if not wanted:
        return next((number for number, column in enumerate(columns) if not column.twin), 0)
    for number, column in enumerate(columns):
        if column.pool == wanted:
            return number
    known = ", ".join(dict.fromkeys(column.pool for column in columns))
    raise UsageError(f"no column is of the pool {wanted!r}", hint=f"the pools that ran are {known}")


def _row(found: Sequence[Taken | None], past: Sequence[_Past], reference: int) -> Row:
    first = next(one[0] for one in found if one)
    figures = [{one.name: one for one in taken[1]} if taken else {} for taken in found]
    names = sorted({name for by_name in figures for name in by_name}, key=lambda name: (len(name), name))
    measured = [_measured(name, found, figures, past, reference) for name in names]
    base = found[reference]
    cells = []
    for number, one in enumerate(found):
        shown = _shown(one, past[number])
        if base and one and _word(base[0]) != shown.word:
            shown = replace(shown, change=_word(base[0]))
        cells.append(replace(shown, value=measured[0].values[number]) if measured else shown)
    return Row(
        check=" ".join(filter(None, (first.check, first.part))),
        title="" if first.title == first.check else first.title,
        params=", ".join(f"{name}={value}" for name, value in first.params),
        suite=first.suite,
        cells=tuple(cells),
        figure=names[0] if names else "",
        better=measured[0].better if measured else Better.HIGHER,
        more=tuple(measured[1:]),
        differs=len({cell.word for cell in cells if cell.word}) > 1 or any(_apart(one.values) for one in measured),
    )


def _measured(
    name: str,
    found: Sequence[Taken | None],
    figures: Sequence[Mapping[str, Figure]],
    past: Sequence[_Past],
    reference: int,
) -> Measured:
    taken = [by_name.get(name) for by_name in figures]
    one = next(figure for figure in taken if figure)
    scale = Scale.of(one.unit, [figure.value for figure in taken if figure])
    base = taken[reference]
    values: list[Value | None] = []
    for number, figure in enumerate(taken):
        cell = found[number]
        if not figure or not cell:
            values.append(None)
            continue
        value = _value(figure, scale, past[number].values(cell[0], name), past[number].slots)
        if cell[0].status is Verdict.SKIPPED:
            # The test itself says that nothing can be told from it: it is neither better nor worse than anything.
            value = replace(value, uncertainty=None, known="", source="")
        values.append(value)
    against = values[reference]
    if base and against:
        values = [
            value if value is None or number == reference else _compared(value, against, one.better)
            for number, value in enumerate(values)
        ]
    return Measured(name, one.unit, one.better, tuple(values))


def _value(figure: Figure, scale: Scale, before: Sequence[float | None], slots: int) -> Value:
    known, source = figure.uncertainty, "of this run"
    runs = [one for one in before if one is not None]
    if len(runs) >= _STEADY:
        middle = median(runs)
        between = 2 * _CONSISTENT * median(abs(one - middle) for one in runs)
        if known is None or between > known:
            known, source = between, f"between the last {len(runs)} runs"
    words = f"{figure.name}, last {len(runs)} runs: {scale.text(min(runs))} to {scale.text(max(runs))}" if runs else ""
    return Value(
        value=figure.value,
        uncertainty=known,
        text=scale.text(figure.value),
        known="" if known is None else f"± {scale.number(known)}",
        source="" if known is None else source,
        spark=sparks.values(before, slots, words),
    )


def _compared(value: Value, against: Value, better: Better) -> Value:
    apart = _apart((value, against))
    rises = value.value > against.value
    trend = "" if not apart else "better" if rises == (better is Better.HIGHER) else "worse"
    return replace(value, change=change(value.value, against.value), trend=trend)


def _apart(values: Iterable[Value | None]) -> bool:
    """Whether two of these are further apart than their uncertainties; where those are unknown nobody can say."""
    ranges = [
        (one.value - one.uncertainty, one.value + one.uncertainty)
        for one in values
        if one and one.uncertainty is not None
    ]
    return bool(ranges) and max(low for low, _ in ranges) > min(high for _, high in ranges)


def _shown(found: Taken | None, past: _Past) -> Shown:
    if found is None:
        return Shown()
    cell, _ = found
    notes = [f"after {' and '.join(one.value for one in cell.earlier)}"] if cell.earlier else []
    notes += ["beyond a limit"] if cell.warnings else []
    notes += [cell.news] if cell.news else [f"followed at {cell.tracker}"] if cell.tracker else []
    return Shown(
        word=_word(cell),
        status=cell.status,
        reason=_GAP.sub("", cell.reason).removeprefix("Skipped: "),
        # Allure names a result by the digest of its file's own name (@allurereport/core, dist/store/convert.js).
        link=hashlib.md5(cell.uuid.encode(), usedforsecurity=False).hexdigest() if cell.uuid else "",
        note="; ".join(notes),
        spark=sparks.states(past.states(cell), past.slots),
    )


def _word(cell: Cell) -> str:
    words = {Verdict.PASSED: "pass", Verdict.FAILED: "fail", Verdict.SKIPPED: "skip"}
    if cell.status is Verdict.SKIPPED and _GAP.match(cell.reason):
        return "cannot"
    return words.get(cell.status, cell.status.value)


def _natural(key: tuple[object, ...]) -> list[tuple[int, int, str]]:
    """Sorts ``vcpus=10`` behind ``vcpus=2``."""
    parts = re.split(r"(\d+)", str(key))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
