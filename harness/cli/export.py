"""``interop export``: bring the results of a run to wherever a lab keeps them."""

from __future__ import annotations

from pathlib import Path

import click

from harness.core import UsageError
from harness.report import exporting, lines
from harness.report.layout import LATEST

_RUNS = Path("reports") / "out"


@click.command("export", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", required=False, metavar="[RUN]", type=click.Path(path_type=Path))
@click.option("--to", "orders", multiple=True, metavar="NAME[=TARGET]", help="Exporter; may be given several times.")
def command(run: Path | None, orders: tuple[str, ...]) -> None:
    """Bring the results of RUN, the folder of a run, to where exporters take them; without --to, list exporters.

    Without RUN it is the latest below reports/out. Exporters are packages of your own; `pytest --export` calls them
    when a run ends.
    """
    if not orders:
        click.echo("\n".join(exporting.names()) or "no exporter is installed")
        return
    file = (run or _RUNS / LATEST) / lines.FILE
    if not file.is_file():
        raise UsageError(f"{file}: there is no such file", hint="name the folder of a run of this version")
    read = lines.read(file)
    for words in read.damaged:
        click.echo(f"could not be read: {words}", err=True)
    for order in orders:
        name, _, target = order.partition("=")
        said = exporting.load(name)(read.results, target)
        click.echo(f"{name}: {said or f'{len(read.results)} results'}")
