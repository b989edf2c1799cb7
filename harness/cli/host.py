"""``interop host``: hosts that nothing may be started on for a while."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import UsageError
from harness.core.fields import duration
from harness.lab.cordons import cordons
from harness.lab.load import DEFAULT, load_lab


@click.group("host")
def command() -> None:
    """Cordon hosts off, so that nothing is started on them, and let them be used again.

    In a lab with a `database` all its controllers see it, else this one alone. Tests there are skipped, and cells of
    nights left out, with the reason. What runs is not stopped.
    """


@command.command()
@click.argument("host")
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose host.")
@click.option("--reason", required=True, help="Why: it stands wherever the host is left out.")
@click.option(
    "--until", metavar="TIME|SPAN", help="When it ends by itself: 2026-03-01T06:00 (UTC), or 3d [default: never]."
)
def cordon(host: str, lab: str, reason: str, until: str | None) -> None:
    """Let nothing be started on HOST."""
    with cordons(load_lab(lab)) as found:
        put = found.put(host, reason, _moment(until) if until else None)
    click.echo(f"{host} is {put}")


@command.command()
@click.argument("host")
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose host.")
def uncordon(host: str, lab: str) -> None:
    """Let HOST be used again."""
    with cordons(load_lab(lab)) as found:
        was = found.lift(host)
    click.echo(f"{host} may be used" if was else f"{host} was not cordoned")


@command.command("list")
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose hosts.")
def list_(lab: str) -> None:
    """Show the hosts that are cordoned off, until when, by whom and why."""
    with cordons(load_lab(lab)) as found:
        closed = found.all()
    console = Console() if sys.stdout.isatty() else Console(width=200)
    if not closed:
        console.print("no host is cordoned")
        return
    table = Table("host", "until", "by", "reason", box=None)
    for one in closed.values():
        until = f"{one.until:%Y-%m-%d %H:%M} UTC" if one.until else "it is lifted"
        table.add_row(one.host, until, escape(one.who), escape(one.reason))
    console.print(table)


def _moment(text: str) -> datetime:
    """A time of ISO 8601, or so long from now.

    Raises:
        UsageError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        span: timedelta = duration(text)
    except ValueError as error:
        raise UsageError(f"--until {text}: write 2026-03-01T06:00 (UTC), or 90m, 12h, 3d") from error
    return datetime.now(UTC) + span
