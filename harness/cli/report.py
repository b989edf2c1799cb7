"""``interop report``: a page from the results of a run."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from harness.report.layout import LATEST, RunFolder, find
from harness.report.render import render

_RUNS = Path("reports") / "out"


@click.command()
@click.argument("runs", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for index.html [default: report/ of the run].",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that collects what each run came to [default: history.jsonl beside the run].",
)
@click.option("--no-history", is_flag=True, help="Neither read nor write a history.")
@click.option("--name", default="", help="Title of the page [default: the lab and the run].")
@click.option("--open", "open_page", is_flag=True, help="Show the page in a browser when it is ready.")
def command(
    *, runs: tuple[Path, ...], out: Path | None, history: Path | None, no_history: bool, name: str, open_page: bool
) -> None:
    """Render the results of a run as one page: a single file that asks nobody anything.

    DIR is the folder of a run, or its results; several make one page. Without DIR it is the latest run below
    reports/out.
    """
    chosen = [find(run) for run in runs or (_RUNS / LATEST,)]
    run = RunFolder(chosen[0].parent)
    # Results that lie elsewhere than in the folder of a run keep their history beside them.
    kept = history or (run.history if chosen[0] == run.results else run.path / run.history.name)
    console = Console(stderr=True)
    with console.status(f"rendering {', '.join(str(folder) for folder in chosen)}"):
        rendered = render(chosen, out or run.report, history=None if no_history else kept, name=name)
    if rendered.unfinished:
        click.echo(f"{rendered.unfinished} tests began and never ended: the run was killed", err=True)
    click.echo(f"report: {rendered.page} ({rendered.results} results)")
    if open_page:
        click.launch(rendered.page.resolve().as_uri())
