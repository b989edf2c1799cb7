"""``interop night``: plan, start, watch and cancel the nights of a lab that several controllers share."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import UsageError
from harness.core.config import nearest
from harness.lab.load import DEFAULT, load_lab
from harness.lab.models import Lab
from harness.nights.load import load_night, night_schema
from harness.nights.queue import Queued, opened, queued
from harness.nights.starting import planned, start


@click.group("night")
def command() -> None:
    """Plan, start, watch and cancel the nights of a lab that several controllers share.

    NIGHT is a name below configs/nights/, or a file. `interop worker` does the work, `interop report` shows it.
    """


@command.command()
@click.argument("night")
@click.option("--offline", is_flag=True, help="Ask no database: as if nothing was left from last night, or cordoned.")
def plan(night: str, offline: bool) -> None:
    """List the cells of NIGHT as they would begin now, and those that would be left out, with the reason."""
    read = load_night(night)
    if offline:
        found = planned(read)
    else:
        with opened(read.lab) as app:
            found = planned(read, app, time.time())
    console = _console()
    table = Table("", "host", "firmware", "image", "release", "", box=None)
    for number, one in enumerate(found.planned):
        cell = one.cell
        table.add_row(*(str(number + 1), cell.host, cell.firmware), *map(escape, (cell.image, cell.release, one.why)))
    for left in found.left_out:
        cell = left.cell
        table.add_row(*("-", cell.host, cell.firmware), *map(escape, (cell.image, cell.release, left.reason)))
    console.print(table)
    console.print(f"{len(found.planned)} cells, {len(found.left_out)} left out")


@command.command("start")
@click.argument("night")
def start_(night: str) -> None:
    """Put the cells of NIGHT into the lab's queue, now."""
    read = load_night(night)
    with opened(read.lab) as app:
        started = start(app, read, datetime.now(UTC))
    for one in started.withdrawn:
        click.echo(f"{one.night}: {one.cell.name} was not reached; it goes first now")
    for left in started.plan.left_out:
        click.echo(f"left out: {left.cell.name}: {left.reason}")
    click.echo(f"{started.name}: {len(started.plan.planned)} cells until {started.until:%Y-%m-%d %H:%M} UTC")


@command.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose nights.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(name: str | None, lab: str, as_json: bool) -> None:
    """Show what becomes of a night's cells; without NAME, of the newest night."""
    cells = _cells(load_lab(lab), name)
    if as_json:
        told = [{"night": one.night, "cell": one.cell.name, "state": one.state, "tried": one.tried} for one in cells]
        click.echo(json.dumps(told, indent=1))
        return
    console = _console()
    table = Table("cell", "state", "tries", box=None)
    for one in cells:
        table.add_row(escape(one.cell.name), one.state, str(one.tried + (one.state == "running") or ""))
    console.print(table)
    counts = Counter(one.state for one in cells)
    console.print(f"{cells[0].night}: {', '.join(f'{count} {state}' for state, count in counts.items())}")


@command.command()
@click.argument("name")
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose night.")
@click.option("--cell", "wanted", metavar="CELL", help="This cell alone, as the status has it [default: all].")
def cancel(name: str, lab: str, wanted: str | None) -> None:
    """Take what waits of a night off the queue, and stop what runs as by Ctrl-C."""
    read = load_lab(lab)
    cells = _cells(read, name)
    if wanted is not None and all(one.cell.name != wanted for one in cells):
        raise UsageError(f"{name} has no cell {wanted!r}{nearest(wanted, [one.cell.name for one in cells])}")
    chosen = [
        one for one in cells if wanted in (None, one.cell.name) and one.state in ("waiting", "unreached", "running")
    ]
    with opened(read) as app:
        for one in chosen:
            if app.job_manager.cancel_job_by_id(one.job, abort=True):
                click.echo(f"{one.cell.name}: {'being stopped' if one.state == 'running' else 'cancelled'}")
    click.echo(f"{len(chosen)} of {len(cells)} cells")


@command.command()
def schema() -> None:
    """Print the JSON Schema of night files."""
    click.echo(json.dumps(night_schema(), indent=2))


def _cells(lab: Lab, name: str | None) -> list[Queued]:
    with opened(lab) as app:
        cells = queued(app, lab, time.time())
    nights = sorted({one.night for one in cells}, key=lambda night: night.rsplit("-", 2)[1:])
    if not nights:
        raise UsageError(f"the queue of {lab.name} knows of no night")
    if name is not None and name not in nights:
        raise UsageError(f"the queue of {lab.name} knows of no night {name!r}{nearest(name, nights)}")
    return [one for one in cells if one.night == (name or nights[-1])]


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=200)
