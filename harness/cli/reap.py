"""``interop reap``: remove what dead runs left behind."""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import Deadline, InteropError, UsageError
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
    findings: list[Finding] = []
    labs = list(_labs(lab, store, findings))
    with Console(stderr=True).status(f"looking at the hosts of {', '.join(each.name for each in labs)}"):
        for each in labs:
            findings += _reap_apart(each, wish) if len(labs) > 1 else reap_lab(each, wish)
    _show(findings)
    if any(finding.fate is Fate.FAILED for finding in findings):
        sys.exit(1)


def reap_lab(lab: Lab, wish: Wish) -> list[Finding]:
    """Reap one lab in this process; one that cannot even be begun on is told, for others may be waiting."""
    findings: list[Finding] = []
    try:
        findings += Reaper(lab, open_store(), Liveness(), wish).reap(Deadline.after(_LONGEST))
    except InteropError as error:
        findings.append(Finding("", None, Fate.FAILED, f"lab {lab.name}: {error}"))
    return findings


def _reap_apart(lab: Lab, wish: Wish) -> list[Finding]:
    """In a process of its own: a driver may serve one embedded host in the lifetime of a process, and no more."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        try:
            return apart.submit(reap_lab, lab, wish).result()
        except BrokenProcessPool:
            return [Finding("", None, Fate.FAILED, f"the process that reaped the lab {lab.name} died")]


def _labs(chosen: str | None, store: Store, findings: list[Finding]) -> Iterator[Lab]:
    left = journalled_labs(store)
    default = find_lab(chosen or DEFAULT).resolve()
    for path, lab in left.items():
        if isinstance(lab, UsageError):
            findings.append(Finding("", None, Fate.FAILED, str(lab)))
        elif chosen is None or path == str(default):
            yield lab
    if str(default) not in left:
        yield load_lab(default)


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
