"""``interop reap``: remove what dead runs left behind."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import Deadline, UsageError
from harness.lab.judge import Fate, Wish
from harness.lab.liveness import Liveness
from harness.lab.load import DEFAULT, find_lab, load_lab
from harness.lab.models import Lab
from harness.lab.reaper import Finding, Reaper, journalled_labs
from harness.lab.store import Store, open_store

_LONGEST = timedelta(minutes=30)
_COLOURS = {Fate.REMOVED: "green", Fate.DOOMED: "yellow", Fate.FAILED: "red"}


@click.command("reap")
@click.option("--lab", metavar="NAME|FILE", help="This lab only; else every lab with something in the journal.")
@click.option("--run", metavar="ID", help="What this run left, and nothing else.")
@click.option("--dry-run", is_flag=True, help="Tell what would be removed; touch nothing.")
@click.option("--force-expired", is_flag=True, help="Also what other controllers left, where its expiry has passed.")
@click.option("--warm", is_flag=True, help="Also the warm slots that later runs would start from.")
def command(lab: str | None, run: str | None, dry_run: bool, force_expired: bool, warm: bool) -> None:
    """Remove what dead runs left behind on the lab's hosts, and nothing else.

    A living run's things, kept guests and whatever carries another's mark stay. Exit status 1 when something that
    should go could not be removed; run it again then.
    """
    store, liveness = open_store(), Liveness()
    if run is not None:
        _must_be_dead(store, liveness, run)
    wish = Wish(run=run, dry_run=dry_run, force_expired=force_expired, warm=warm)
    deadline = Deadline.after(_LONGEST)
    findings: list[Finding] = []
    console = Console(stderr=True)
    with console.status("looking at hosts") as status:
        for each in _labs(lab, store, findings):
            for finding in Reaper(each, store, liveness, wish).reap(deadline):
                findings.append(finding)
                status.update(f"{finding.host}: {escape(_name(finding))} {finding.fate.value}")
    _show(findings)
    if any(finding.fate is Fate.FAILED for finding in findings):
        sys.exit(1)


def _labs(chosen: str | None, store: Store, findings: list[Finding]) -> Iterator[Lab]:
    if chosen is not None:
        yield load_lab(chosen)
        return
    left = journalled_labs(store)
    for path in dict.fromkeys([*left, str(find_lab(DEFAULT).resolve())]):
        try:
            yield load_lab(Path(path).absolute())
        except UsageError as error:
            runs = f"left by run {', '.join(left.get(path, []))}: " if path in left else ""
            findings.append(Finding("", None, Fate.FAILED, f"{runs}{error}"))


def _must_be_dead(store: Store, liveness: Liveness, run: str) -> None:
    rows = store.rows("SELECT id FROM runs WHERE id = ?", run)
    if not rows:
        raise UsageError(f"no run is called {run!r} in this controller's journal")
    if liveness.run(store, run):
        raise UsageError(f"run {run} lives; end it first")


def _show(findings: list[Finding]) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=200)
    if not findings:
        console.print("nothing to reap")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("host", "kind", "thing", "fate", "why"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        colour = _COLOURS.get(finding.fate, "dim")
        kind = finding.thing.kind.value if finding.thing else ""
        table.add_row(
            finding.host, kind, escape(_name(finding)), f"[{colour}]{finding.fate.value}[/]", escape(finding.detail)
        )
    console.print(table)
    counts = Counter(finding.fate for finding in findings)
    console.print(", ".join(f"{count} {fate.value}" for fate, count in counts.items()))


def _name(finding: Finding) -> str:
    if finding.thing is None:
        return ""
    name, handle = finding.thing.name, finding.thing.handle
    return handle if not name or name == handle else f"{name} ({handle})"
