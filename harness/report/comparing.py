"""Two runs held against each other: which checks changed, what was measured, and what of the surroundings is another.

Tests are known by check, parameters and pool, so a renamed test or another member of the pool is no change.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from harness.measure import Better, records
from harness.report import cells
from harness.report.cells import Cell, RunCells
from harness.report.environment import HostRecord
from harness.report.summary import Verdict

Key: TypeAlias = tuple[str, str, str, tuple[tuple[str, str], ...]]
"""Pool, check, part, parameters."""

_FAILED = (Verdict.FAILED, Verdict.GUEST, Verdict.LAB, Verdict.ERROR)
_MEASUREMENT = "measurement "
# Of a host's details, versions; not addresses and folders, which are others in every run.
_A_VERSION = re.compile(r"\d+(?:\.\d+)+(?:[-+~][\w.+~-]*)?")


class Change(StrEnum):
    """What became of a test from one run to the other, the most urgent first."""

    FAILING = "newly failing"
    FAILS_OTHERWISE = "fails otherwise"
    KNOWN = "fails as a known issue now"
    FLAKY = "passed only when tried again"
    AWAY = "its host was not available"
    SKIPPED = "skipped now"
    DISAPPEARED = "disappeared"
    PASSING = "newly passing"
    RUNS = "not skipped any more"
    APPEARED = "appeared"


@dataclass(frozen=True, slots=True)
class Changed:
    """A test that came to something else.

    Args:
        change: how.
        before: in the first run; None: it was not there.
        after: in the second; None: it is not there.
    """

    change: Change
    before: Cell | None
    after: Cell | None

    @property
    def cell(self) -> Cell:
        """The newer of the two."""
        cell = self.after or self.before
        assert cell is not None
        return cell

    @property
    def worse(self) -> bool:
        """It fails and did not: whoever's fault that is, what was known to be well is known no longer."""
        return self.change is Change.FAILING

    @property
    def covers_less(self) -> bool:
        """It passed, and now nobody knows."""
        lost = self.change in (Change.AWAY, Change.SKIPPED, Change.DISAPPEARED)
        return lost and self.before is not None and self.before.status in (Verdict.PASSED, Verdict.FLAKY, Verdict.KNOWN)


@dataclass(frozen=True, slots=True)
class Figure:
    """What one run measured.

    Args:
        value: the figure; the median, where it was taken several times.
        count: how often it was taken.
        better: which way it improves.
        samples: how many raw samples there are.
        median: of the samples; None: there are none.
        circumstances: under what it was taken, in words; empty: not known.
    """

    value: float
    count: int
    better: Better
    samples: int = 0
    median: float | None = None
    circumstances: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement that both runs took.

    Args:
        pool: where.
        label: of the test.
        name: of the measurement.
        unit: of the figures.
        before: the first run's.
        after: the second's.
    """

    pool: str
    label: str
    name: str
    unit: str
    before: Figure
    after: Figure

    @property
    def change(self) -> float | None:
        """The figure's relative change, positive where it grew; None where it was 0."""
        return _relative(self.before.value, self.after.value)

    @property
    def median_change(self) -> float | None:
        """The same of the samples' medians; None where one run has no samples."""
        if self.before.median is None or self.after.median is None:
            return None
        return _relative(self.before.median, self.after.median)

    @property
    def gain(self) -> float:
        """The change, positive where it is better; infinite where it was 0 and is not any more."""
        sign = 1 if self.after.better is Better.HIGHER else -1
        if self.change is None:
            return 0.0 if self.after.value == 0 else sign * float("inf") * (1 if self.after.value > 0 else -1)
        return sign * self.change


@dataclass(frozen=True, slots=True)
class Difference:
    """Something of the surroundings that is another.

    Args:
        pool: whose; empty: the run's.
        what: ``image``, ``kernel``, ``open-vm-tools`` ...
        before: in the first run; empty: nothing.
        after: in the second.
    """

    pool: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that two runs differ in.

    Args:
        before: the first run.
        after: the second.
        changed: tests that came to something else, by pool, the most urgent first.
        measured: measurements that both took, by pool, the greatest loss first.
        differences: of the surroundings.
        rewritten: tests of both runs whose check's source is another, by pool: the newer of the two.
        unsure: how many tests of both do not say of which source they were, or by digests of two kinds.
    """

    before: RunCells
    after: RunCells
    changed: tuple[Changed, ...]
    measured: tuple[Measured, ...]
    differences: tuple[Difference, ...]
    rewritten: tuple[Cell, ...] = ()
    unsure: int = 0

    def worse(self, *, strict: bool = False) -> bool:
        """Whether something got worse. Measurements do not count: one run each proves nothing.

        Args:
            strict: a check that passed and is skipped now, or gone, counts as well.
        """
        return any(one.worse or (strict and one.covers_less) for one in self.changed)

    def is_rewritten(self, cell: Cell) -> bool:
        """Whether a test's check is another than in the first run: what it came to says little about the product."""
        return any((one.pool, one.key) == (cell.pool, cell.key) for one in self.rewritten)

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools of which there is something to tell, sorted."""
        named = [one.cell.pool for one in self.changed]
        named += [one.pool for one in self.rewritten]
        named += [one.pool for one in self.measured]
        named += [one.pool for one in self.differences]
        return tuple(sorted({pool for pool in named if pool}))


def compare(before: Path, after: Path) -> Comparison:
    """Hold two runs against each other.

    Args:
        before: the folder of a run, or of its results.
        after: that of another.

    Raises:
        UsageError: one of them holds no results.
    """
    one, other = cells.read(before), cells.read(after)
    changed = [found for pair in _pairs(one, other) if (found := _changed(*pair))]
    order = list(Change)
    changed.sort(key=lambda found: (found.cell.pool, order.index(found.change), found.cell.key))
    measured = sorted(_measured(one, other), key=lambda found: (found.pool, found.gain, found.label, found.name))
    both = [(old, new) for old, new in _pairs(one, other) if old is not None and new is not None]
    return Comparison(
        *(one, other, tuple(changed), tuple(measured), tuple(_differences(one, other))),
        rewritten=tuple(new for old, new in both if _comparable(old, new) and old.source != new.source),
        unsure=sum(not _comparable(old, new) for old, new in both),
    )


def _comparable(before: Cell, after: Cell) -> bool:
    """Whether digests of sources say something about each other: both are there, and of one kind."""
    kinds = {cell.source.partition(":")[0] for cell in (before, after)}
    return len(kinds) == 1 and "" not in kinds


def _pairs(before: RunCells, after: RunCells) -> Iterator[tuple[Cell | None, Cell | None]]:
    old, new = ({(cell.pool, *cell.key): cell for cell in run.cells} for run in (before, after))
    for key in dict.fromkeys([*old, *new]):
        yield old.get(key), new.get(key)


def _changed(before: Cell | None, after: Cell | None) -> Changed | None:
    change = _change(before, after)
    return Changed(change, before, after) if change else None


def _change(before: Cell | None, after: Cell | None) -> Change | None:  # noqa: PLR0911  a table of cases
    if after is None:
        return Change.DISAPPEARED
    if after.status in _FAILED:
        if before is None or before.status not in _FAILED:
            return Change.FAILING
        return Change.FAILS_OTHERWISE if (before.status, before.reason) != (after.status, after.reason) else None
    if before is None:
        return Change.APPEARED
    if after.status is Verdict.KNOWN:
        return Change.KNOWN if before.status is not Verdict.KNOWN else None
    if after.status is Verdict.AWAY:
        return Change.AWAY if before.status is not Verdict.AWAY else None
    if after.status is Verdict.SKIPPED:
        return Change.SKIPPED if before.status is not Verdict.SKIPPED else None
    if before.status in (Verdict.SKIPPED, Verdict.AWAY):
        return Change.RUNS
    if before.status not in (Verdict.PASSED, Verdict.FLAKY):
        return Change.PASSING
    return Change.FLAKY if after.status is Verdict.FLAKY and before.status is not Verdict.FLAKY else None


def _measured(before: RunCells, after: RunCells) -> Iterator[Measured]:
    old, new = _figures(before), _figures(after)
    labels = {(cell.pool, *cell.key): cell.label for cell in (*before.cells, *after.cells)}
    for key in old.keys() & new.keys():
        test, name, unit = key
        yield Measured(test[0], labels.get(test, test[1]), name, unit, old[key], new[key])


def _figures(run: RunCells) -> Mapping[tuple[Key, str, str], Figure]:
    """By test, name and unit: from the files that measurements are kept in, else from the results' attachments."""
    taken: dict[tuple[Key, str, str], list[Figure]] = defaultdict(list)
    for one in records.read(run.results):
        figure, around = one.measurement, one.circumstances
        quiet = around.quiet and not around.disturbed
        words = [around.accel, *(["on a twin"] if around.twin else []), *([] if quiet else ["not in quiet"])]
        words += [f"beside {', '.join(around.neighbours)}"] if around.neighbours else []
        key = (one.pool, one.check or one.test, one.part, tuple(sorted(one.params)))
        kept = _figure(figure.value, figure.better, figure.samples)
        taken[key, figure.name, figure.unit].append(replace(kept, circumstances=", ".join(words)))
    if not taken:
        for cell in run.cells:
            for name, unit, attached in _attached(cell):
                taken[(cell.pool, *cell.key), name, unit].append(attached)
    return {key: _together(figures) for key, figures in taken.items()}


def _attached(cell: Cell) -> Iterator[tuple[str, str, Figure]]:
    for name, file in cell.attachments:
        if name.startswith(_MEASUREMENT) and file.is_file():
            try:
                said = json.loads(file.read_text(encoding="utf-8"))
                figure = _figure(float(said["value"]), Better(said["better"]), said.get("samples", ()))
                yield str(said["name"]), str(said.get("unit", "")), figure
            except (ValueError, KeyError, TypeError, AttributeError):  # half a file, of a run that was killed
                continue


def _figure(value: float, better: Better, samples: Iterable[float]) -> Figure:
    values = [float(sample) for sample in samples]
    return Figure(value, 1, better, len(values), statistics.median(values) if values else None)


def _together(figures: list[Figure]) -> Figure:
    """A figure that was taken several times: the median of what was found, and of the medians."""
    if len(figures) == 1:
        return figures[0]
    medians = [one.median for one in figures if one.median is not None]
    return Figure(
        statistics.median(one.value for one in figures),
        len(figures),
        figures[0].better,
        sum(one.samples for one in figures),
        statistics.median(medians) if medians else None,
        "; ".join(dict.fromkeys(one.circumstances for one in figures if one.circumstances)),
    )


def _relative(before: float, after: float) -> float | None:
    return (after - before) / abs(before) if before else None


def _differences(before: RunCells, after: RunCells) -> Iterator[Difference]:
    for what in ("lab", "image", "digest", "build", "kernel", "release", "harness"):
        old, new = getattr(before, what), getattr(after, what)
        # Older records hold the first digits of the digest alone.
        if old != new and not (what == "digest" and old and new and (old.startswith(new) or new.startswith(old))):
            yield Difference("", {"digest": "image sha256", "kernel": "image's kernel"}.get(what, what), old, new)
    hosts = [{(host.pool, host.name): _said(host) for host in run.hosts} for run in (before, after)]
    for pool, name in sorted(hosts[0].keys() | hosts[1].keys()):
        here, there = (run.get((pool, name), {}) for run in hosts)
        if not here or not there:
            yield Difference(pool, "host", name if here else "", name if there else "")
            continue
        for what in dict.fromkeys([*here, *there]):
            if here.get(what, "") != there.get(what, ""):
                yield Difference(pool, f"{what} of {name}", here.get(what, ""), there.get(what, ""))


def _said(host: HostRecord) -> dict[str, str]:
    return {
        "product": host.product,
        "version": host.version,
        "acceleration": host.accel,
        "twin": "yes" if host.twin else "no",
        "guest's kernel": host.kernel,
        **{f"guest's {name}": value for name, value in {**host.guest, **host.services}.items()},
        **{f"host's {name}": value for name, value in host.details.items() if _A_VERSION.fullmatch(value)},
    }
