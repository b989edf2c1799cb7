"""``interop status``: which runs live, on which hosts, what they run now, and what is left."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.lab.liveness import Liveness
from harness.lab.living import Living, elsewhere, living
from harness.lab.load import load_lab
from harness.lab.store import open_store
from harness.report.standing import Now, Standing, running, span, standings


@click.command("status", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--lab", metavar="NAME|FILE", help="Also the runs of other controllers of this lab, by its database.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(lab: str | None, as_json: bool) -> None:
    """Show the runs that live on this controller: their hosts, what runs there now and since when, and what is left.

    It asks the journal and what runs write down, and no host. Cells of nights are shown by `interop night status`.
    """
    store, liveness = open_store(), Liveness()
    here = living(store, liveness)
    others = list(elsewhere(load_lab(lab), liveness)) if lab is not None else []
    known = standings(one.run for one in here)
    told = [_told(one, known.get(one.run)) for one in (*here, *others)]
    if as_json:
        click.echo(json.dumps(told, indent=1))
        return
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=200, highlight=False)
    now = time.time()
    for one in told:
        _show(console, one, now)
    if not told:
        console.print("no run lives")


def _told(one: Living, standing: Standing | None) -> dict[str, Any]:
    tests = running(Path(standing.folder) / "results") if standing else []
    return {
        "run": one.run,
        "lab": one.lab,
        "controller": one.controller,
        "started": one.started,
        "image": standing.image if standing else "",
        "release": standing.release if standing else "",
        "folder": standing.folder if standing else "",
        "total": standing.total if standing else None,
        "done": standing.done if standing else None,
        "counts": standing.counts if standing else {},
        "left_seconds": round(standing.left, 1) if standing else None,
        "hosts": _hosts(one, tests),
        "domains": list(one.domains),
        "quiet": list(one.quiet),
    }


def _hosts(one: Living, tests: list[Now]) -> dict[str, dict[str, Any]]:
    """By host, what is of the run there, and what runs; a test whose host is not known yet stands under its pool."""
    hosts: dict[str, dict[str, Any]] = {host: {"things": count, "now": []} for host, count in one.things.items()}
    for test in tests:
        entry = hosts.setdefault(test.host or test.pool, {"things": 0, "now": []})
        entry["now"].append({"test": test.label, "worker": test.worker, "since": test.since})
    return dict(sorted(hosts.items()))


def _show(console: Console, one: dict[str, Any], now: float) -> None:
    words = [f"run {one['run']}", f"lab {one['lab']}"]
    words += [f"on {one['controller']}"] if one["controller"] else []
    words += [f"image {one['image']}"] if one["image"] else []
    words += [f"release {one['release']}"] if one["release"] else []
    console.print(f"[bold]{escape(', '.join(words))}[/], for {span(now - one['started'])}")
    if one["total"] is not None:
        counts = ", ".join(f"{count} {status}" for status, count in one["counts"].items())
        left = f", about {span(one['left_seconds'])} to go" if one["left_seconds"] else ""
        console.print(escape(f"  {one['done']} of {one['total']} done{f' ({counts})' if counts else ''}{left}"))
        console.print(escape(f"  {one['folder']}"))
    if one["quiet"]:
        console.print(escape(f"  measures alone in {', '.join(one['quiet'])}"))
    elif one["controller"] and one["domains"]:
        console.print(escape(f"  is in {', '.join(one['domains'])}"))
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    for host, entry in one["hosts"].items():
        idle = f"nothing runs; {entry['things']} things of it are there"
        rows = [(test["test"], span(now - test["since"]), test["worker"]) for test in entry["now"]] or [(idle, "", "")]
        for number, (test, since, worker) in enumerate(rows):
            table.add_row("", "" if number else escape(host), escape(test), since, escape(worker))
    if table.row_count:
        console.print(table)
