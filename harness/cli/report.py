"""``interop report``: pages from the results of a run."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from harness.core import LabError
from harness.report import beside
from harness.report.history import FILE
from harness.report.layout import LATEST, RunFolder, find
from harness.report.render import allure, render

_RUNS = Path("reports") / "out"


def _tell(pages: beside.Pages) -> None:
    for warning in pages.warnings:
        click.echo(f"could not be read: {warning}", err=True)
    if pages.unfinished:
        click.echo(f"{pages.unfinished} tests began and never ended: the run was killed", err=True)
    click.echo(f"side by side: {pages.table} ({pages.tests} tests on {pages.columns} hypervisors)")
    if pages.figures:
        click.echo(f"figures: {pages.figures}")


@click.command()
@click.argument("runs", nargs=-1, metavar="[DIR]...")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the pages [default: report/ of the run].",
)
@click.option("--reference", default="", metavar="POOL", help="Pool that others are compared with.")
@click.option(
    "--history",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of Allure's own history [default: history.jsonl beside the run].",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File that collects what each run came to and measured [default: {FILE} beside the run].",
)
@click.option(
    "--merge",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the runs of another controller's record; may be given several times.",
)
@click.option("--no-history", is_flag=True, help="Neither read nor write a history or a record.")
@click.option("--name", default="", help="Title of the pages [default: the lab and the run].")
@click.option("--open", "open_page", is_flag=True, help="Show the page in a browser when it is ready.")
def command(
    *,
    runs: tuple[str, ...],
    out: Path | None,
    reference: str,
    history: Path | None,
    record: Path | None,
    merge: tuple[Path, ...],
    no_history: bool,
    name: str,
    open_page: bool,
) -> None:
    """Render the results of a run as pages that ask nobody anything: in full, side by side, and as figures.

    DIR is the folder of a run, or its results; several make one page. Without DIR it is the latest run below
    reports/out. The folder of a night (or its URL in an object store) becomes a page with all of its cells, and below
    it a page for each image, firmware and release, whose columns are the pools.
    """
    if any(_is_night(run) for run in runs):
        from harness.cli.night_report import render_nights  # noqa: PLC0415 - nights need more than most installations have

        render_nights(runs, out, name=name, open_page=open_page)
        return
    chosen = [find(Path(run)) for run in runs or (_RUNS / LATEST,)]
    run = RunFolder(chosen[0].parent)
    # Results that lie elsewhere than in the folder of a run keep their history beside them.
    folder = run.path.parent if chosen[0] == run.results else run.path
    target = out or run.report
    try:
        allure()
        missing = None
    except LabError as error:
        missing = error
    pages = beside.write(
        chosen,
        target,
        record=None if no_history else record or folder / FILE,
        merge=merge,
        name=name,
        reference=reference,
        linked=missing is None,
    )
    if pages is not None:
        _tell(pages)
    if missing is not None:
        raise missing
    console = Console(stderr=True)
    kept = history or folder / run.history.name
    with console.status(f"rendering {', '.join(str(folder) for folder in chosen)}"):
        rendered = render(
            chosen, target, history=None if no_history else kept, name=name, beside=pages.links if pages else ()
        )
    if rendered.unfinished:
        click.echo(f"{rendered.unfinished} tests began and never ended: the run was killed", err=True)
    click.echo(f"report: {rendered.page} ({rendered.results} results)")
    if open_page:
        click.launch(rendered.page.resolve().as_uri())


def _is_night(run: str) -> bool:
    """The folder of a night, by what lies in it; only nights are in object stores."""
    return "://" in run or (Path(run) / "night.json").is_file()
