"""The pages beside Allure's: hypervisors side by side, and figures; made from the same results and the runs before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core import UsageError
from harness.report import cells, history, matrix, plots
from harness.report.alike import refuse_mixed
from harness.report.layout import find
from harness.report.measured import Measurements
from harness.report.render import title_of
from harness.report.results import settle

ALLURE_PAGE = "index.html"


@dataclass(frozen=True, slots=True)
class Pages:
    """What was written.

    Args:
        table: the page with all hypervisors.
        figures: the page with charts; None: nothing was measured that a chart is made of.
        tests: rows of the table.
        columns: its hypervisors.
        unfinished: tests that began and never ended, because the run was killed.
        warnings: what could not be read, a line each.
    """

    table: Path
    figures: Path | None
    tests: int
    columns: int
    unfinished: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def links(self) -> list[tuple[str, str]]:
        """File names and words, for a page beside them."""
        return [(self.table.name, "Side by side"), *([(self.figures.name, "Figures")] if self.figures else [])]


def write(
    runs: Sequence[Path],
    out: Path,
    *,
    record: Path | None = None,
    merge: Sequence[Path] = (),
    name: str = "",
    reference: str = "",
    linked: bool = True,
) -> Pages | None:
    """Write both pages, and add the runs to the record.

    Args:
        runs: results folders, or folders of runs.
        out: the folder that gets the pages.
        record: the file with what earlier runs came to, which these runs are added to; None: there is none.
        merge: files of other controllers, whose runs are added as well.
        name: title of the pages; empty: made from lab and run.
        reference: pool that others are compared with; empty: the first that is no twin.
        linked: cells link to their results in Allure's page.

    Returns:
        None where no result is of a pool, because another tool wrote them all.

    Raises:
        UsageError: there are no results, none of that pool, or no such record; or results of several versions of the
            harness.
        LabError: a file cannot be opened, or a page would ask somebody for something.
    """
    for path in merge:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such record", hint=f"another controller's is called {history.FILE}")
    folders = list(dict.fromkeys(map(find, runs)))
    unfinished = sum(len(settle(folder)) for folder in folders)
    read = [cells.read(folder) for folder in folders]
    if not any(run.cells for run in read):
        return None
    refuse_mixed(run for run in read if run.cells)
    taken = {str(run.results): Measurements(run.results) for run in read}
    ours = history.together([history.of(run, taken[str(run.results)].figures) for run in read])
    others = [history.read(path) for path in merge]
    known = history.merge(*(one.nights for one in others), ours)
    warnings = [f"{path}:{one.line}: {one.words}" for path, of in zip(merge, others, strict=True) for one in of.damaged]
    if record is not None:
        whole = history.add(record, known)
        warnings += [f"{record}:{one.line}: {one.words}" for one in whole.damaged]
        known = whole.nights
    warnings += [str(path) for run in read for path in run.broken]
    warnings += [words for of in taken.values() for words in of.damaged]
    title = name or title_of((run.lab, run.run) for run in read)
    results = ALLURE_PAGE if linked else ""
    drawn = plots.drawings(read, known, taken)
    figures = plots.write(out, drawn, title=title, results=results, table=matrix.NAME) if drawn else None
    table = matrix.table(read, known, reference=reference)
    page = matrix.write(out, table, title=title, results=results, plots=figures.name if figures else "")
    return Pages(page, figures, len(table.rows), len(table.columns), unfinished, tuple(warnings))
