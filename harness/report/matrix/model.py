"""What the page shows: columns, rows and cells, before anybody thinks of markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from harness.measure import Better
from harness.report.summary import Verdict


@dataclass(frozen=True, slots=True)
class Column:
    """One pool with one product, build and image.

    Args:
        pool: its name.
        lab: the lab's.
        product: ``VMware ESXi``.
        build: its version and build.
        accel: what ran the vCPUs.
        twin: its hosts are stand-ins.
        image: the guest image's name.
        image_build: the first digits of what tells the image from others.
        release: the release of integration services under test.
        run: the newest run it shows.
        counts: how many cells have each state.
    """

    pool: str
    lab: str = ""
    product: str = ""
    build: str = ""
    accel: str = ""
    twin: bool = False
    image: str = ""
    image_build: str = ""
    release: str = ""
    run: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it another column; sorting by it groups by product, build and image."""
        return self.product, self.build, self.image, self.image_build, self.release, self.pool, self.lab

    @property
    def guest(self) -> str:
        """What its guests are made of, in one line."""
        return " ".join(filter(None, (self.image, self.image_build, self.release and f"+ {self.release}")))


@dataclass(frozen=True, slots=True)
class Value:
    """A measurement in a cell.

    Args:
        value: in the measurement's unit.
        uncertainty: half the width of the interval that holds it; None: nobody knows.
        text: value and unit.
        known: the uncertainty in words, such as ``± 0.2``; empty where nobody knows it.
        source: what the uncertainty comes from.
        change: the difference to the reference column; empty in that column itself.
        trend: ``better`` or ``worse`` where the difference is larger than both uncertainties.
        spark: the last runs, as markup.
    """

    value: float
    uncertainty: float | None = None
    text: str = ""
    known: str = ""
    source: str = ""
    change: str = ""
    trend: str = ""
    spark: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A test in a cell.

    Args:
        word: ``pass``, ``fail`` ... as the page calls the state; ``cannot``: a capability that the host lacks.
        status: what became of it; None: it was not run there.
        reason: why it failed or was skipped.
        link: the result's id in Allure's page.
        note: further news: retries, warnings, known issues.
        change: the reference's state, where it is another.
        spark: the last runs, as markup.
        value: the test's first measurement.
    """

    word: str = ""
    status: Verdict | None = None
    reason: str = ""
    link: str = ""
    note: str = ""
    change: str = ""
    spark: str = ""
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A further measurement of a test: a row of its own below it."""

    name: str
    unit: str
    better: Better
    values: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One test with its parameters.

    Args:
        check: its number, and part.
        title: what it asserts.
        params: its parameters in words.
        suite: ``vcpu`` ...
        cells: one a column.
        figure: name of the measurement in its cells; empty: it measures nothing.
        better: which way that improves.
        more: its further measurements.
        differs: hypervisors come to different states, or to values further apart than their uncertainties.
    """

    check: str
    title: str
    params: str
    suite: str
    cells: tuple[Shown, ...]
    figure: str = ""
    better: Better = Better.HIGHER
    more: tuple[Measured, ...] = ()
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Everything the page shows.

    Args:
        columns: grouped by product, build and image.
        rows: by check.
        reference: the column that others are compared with.
        start: when the newest run began.
        runs: ids of the runs, oldest first.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    reference: int
    start: datetime
    runs: tuple[str, ...]

    def groups(self, *names: str) -> list[tuple[tuple[str, ...], int]]:
        """Neighbouring columns that are the same in these respects, and how many they are."""
        grouped = groupby(self.columns, key=lambda column: tuple(str(getattr(column, name)) for name in names))
        return [(key[-1:], len(list(members))) for key, members in grouped]
