"""The page with all charts, each with its data as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core.files import write_whole
from harness.report import page
from harness.report.matrix.page import safe, templates
from harness.report.plots.chart import Drawing

NAME = "figures.html"


def write(out: Path, drawings: Sequence[Drawing], *, title: str, results: str = "", table: str = "") -> Path:
    """Write the page.

    Args:
        out: the folder that gets ``figures.html``.
        drawings: the charts.
        title: what they are of.
        results: file name of Allure's page beside it; empty: there is none.
        table: file name of the table of all hypervisors; empty: there is none.

    Raises:
        LabError: the page would ask somebody for something.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / NAME, render(drawings, title=title, results=results, table=table).encode())
    return out / NAME


def render(drawings: Sequence[Drawing], *, title: str, results: str = "", table: str = "") -> str:
    """The page's text; see :func:`write`."""
    template = templates().get_template("figures.html.j2")
    return safe(template.render(head=page.HEAD, drawings=drawings, title=title, results=results, table=table))
