"""``interop compare``: what changed from one run to another."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.core import UsageError
from harness.core.streams import going_on_unread
from harness.report import compared
from harness.report.comparing import compare

_RUNS = Path("reports") / "out"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@click.option(
    "--report-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_RUNS,
    show_default=True,
    help="Where runs are kept that are named by their ids.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
@click.option("--strict", is_flag=True, help="A check that passed, and is skipped now or gone, is worse as well.")
@going_on_unread()
def command(*, run_a: str, run_b: str, report_dir: Path, form: str, strict: bool) -> None:
    """Tell what changed from RUN_A to RUN_B: checks, measurements, and what they ran on.

    A run is the folder of one, of its results, or its id below the report dir; `latest` is the newest. The exit status
    is 0 where nothing got worse, 1 where something did (a check fails that did not), 2 where a run cannot be read. One
    run each proves nothing about measurements: their changes are shown and do not count.
    """
    try:
        comparison = compare(_folder(run_a, report_dir), _folder(run_b, report_dir))
    except UsageError as error:
        click.echo(f"interop: {error}", err=True)
        sys.exit(2)
    if form == "json":
        click.echo(json.dumps(compared.data(comparison, strict=strict), indent=2))
    else:
        told = compared.markdown if form == "markdown" else compared.text
        click.echo(told(comparison, strict=strict), nl=False)
    sys.exit(1 if comparison.worse(strict=strict) else 0)


def _folder(name: str, report_dir: Path) -> Path:
    """A run's folder; a bare name is first looked for among the runs."""
    below = report_dir / name
    return below if Path(name).name == name and below.is_dir() else Path(name)
