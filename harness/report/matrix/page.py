"""The page: one file that asks nobody anything, and reads without a program."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.core import LabError
from harness.core.files import write_whole
from harness.report import layout, page
from harness.report.matrix.model import Table

NAME = "matrix.html"
WORDS = ("fail", "error", "guest", "lab", "away", "flaky", "known", "pass", "cannot", "skip")
"""States as the page calls them, from the worst to what says nothing."""


def write(out: Path, table: Table, *, title: str, results: str = "", plots: str = "") -> Path:
    """Write the page.

    Args:
        out: the folder that gets ``matrix.html``.
        table: what it shows.
        title: what it is of.
        results: file name of Allure's page beside it, which cells link to; empty: there is none.
        plots: file name of the page with figures; empty: there is none.

    Raises:
        LabError: the page would ask somebody for something.
    """
    html = render(table, title=title, results=results, plots=plots)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / NAME, html.encode())
    return out / NAME


def render(table: Table, *, title: str, results: str = "", plots: str = "") -> str:
    """The page's text; see :func:`write`."""
    pools = Counter(column.pool for column in table.columns)
    labs = {column.lab for column in table.columns}
    names = [
        f"{column.pool} ({column.lab})" if pools[column.pool] > 1 and len(labs) > 1 and column.lab else column.pool
        for column in table.columns
    ]
    seen = {word for column in table.columns for word in column.counts}
    return safe(
        templates()
        .get_template("matrix.html.j2")
        .render(
            head=page.HEAD,
            title=title,
            table=table,
            names=names,
            words=[word for word in WORDS if word in seen],
            suites=sorted({row.suite for row in table.rows if row.suite}),
            page=results,
            plots=plots,
        )
    )


def templates() -> Environment:
    """The templates of ``reports/``: whatever is put into them is escaped."""
    loader = FileSystemLoader(layout.settings())
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined)


def safe(html: str) -> str:
    """``html``, which asks nobody anything, and which can be written: files of others may say what no UTF-8 can.

    Raises:
        LabError: it would.
    """
    if remaining := page.outside_requests(html):
        shown = "\n  ".join(remaining[:10])
        raise LabError(f"the page would make requests, so it was not written:\n  {shown}", operation="report")
    return html.encode("utf-8", "backslashreplace").decode()
