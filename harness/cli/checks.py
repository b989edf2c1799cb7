"""``interop checks``: the checks, and on each host whether they would run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import UsageError
from harness.lab.load import DEFAULT

_SUITES = "suites"
_PLUGIN = "harness.plugin.checklist"
_NOTHING = 5
"""pytest's exit status where no test was selected."""
Row: TypeAlias = dict[str, Any]


@click.command("checks", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose hosts.")
@click.option("--host", metavar="NAME", help="This host of the lab only.")
@click.option("-m", "markers", default="", metavar="EXPRESSION", help="As pytest's: `smoke`, `clock and not slow` ...")
@click.option("-k", "words", default="", metavar="EXPRESSION", help="As pytest's: by words of the tests' names.")
@click.option("--limits", is_flag=True, help="Show the limits and sizes in force as well, and which only warn.")
@click.option("--calibration", metavar="FILE", help="The lab's own limits, in place of the file that it names.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def command(  # noqa: PLR0917  click calls it by name
    paths: tuple[Path, ...],
    lab: str,
    host: str | None,
    markers: str,
    words: str,
    limits: bool,
    calibration: str | None,
    as_json: bool,
) -> None:
    """List the checks: what would run on each host of a lab, and what would be skipped, and why.

    PATHS are suites; without any, the folder `suites`. Hosts are opened (twins are started for the moment), no image is
    built and nothing made on them. How well each host's clock can be known is told as well, with the limits that ask
    for more: checks that use those are skipped.
    """
    told = collected(paths or (Path(_SUITES),), lab, host, markers, words, calibration)
    if as_json:
        click.echo(json.dumps(told, indent=1))
        return
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    for suite, rows in groupby(
        sorted(told["checks"], key=lambda row: (row["suite"], row["check"], row["title"])), _suite
    ):
        console.print(_table(suite, list(rows)))
    if limits:
        console.print(_in_force(told["limits"]))
    _sum_up(console, told["checks"])
    for clock in told["clocks"]:
        console.print(escape(_of_clock(clock)))


def collected(  # noqa: PLR0917  as the command's own
    paths: Iterable[Path], lab: str, host: str | None, markers: str, words: str, calibration: str | None = None
) -> dict[str, list[Row]]:
    """What pytest finds, asked about its hosts: ``checks``, ``clocks`` and ``limits``, as ``harness.plugin.checklist``
    writes them.

    Raises:
        UsageError: a path, an expression, the lab or its host is not there; says what pytest said.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"there are no suites at {path}", hint="name their folder: interop checks path/to/suites")
    with TemporaryDirectory() as folder:
        found = Path(folder, "checks.json")
        options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "--lab", lab, "--report-dir", folder]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-m", markers, "-k", words]
        options += ["-p", _PLUGIN, "--checklist", str(found), *([f"--host={host}"] if host else [])]
        options += [f"--calibration={calibration}"] if calibration else []
        # In a process of its own: plugins and modules of suites are nothing for this one.
        command = [sys.executable, "-m", "pytest", *options, *map(str, paths)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == _NOTHING:
            raise UsageError("nothing was selected", hint="`interop checks` without -m and -k lists all")
        if done.returncode:
            raise UsageError(f"the suites cannot be collected:\n{(done.stdout + done.stderr).strip()}")
        told: dict[str, list[Row]] = json.loads(found.read_text(encoding="utf-8"))
    return told


def _suite(row: Row) -> str:
    return str(row["suite"])


def _table(suite: str, rows: list[Row]) -> Table:
    table = Table(title=suite, title_justify="left", box=None, pad_edge=False)
    for heading in ("check", "asserts", "runs on", "does not"):
        table.add_column(heading)
    for (check, title), same in groupby(rows, lambda row: (row["check"], row["title"])):
        tests = list(same)
        runs = sorted({row["column"] for row in tests if not row["why_not"]})
        idle = sorted({f"{_what(row)}: {row['why_not']}" for row in tests if row["why_not"]})
        table.add_row(check, escape(title), ", ".join(runs) or "-", escape("; ".join(idle)))
    return table


def _what(row: Row) -> str:
    return "fails" if row["fails"] else "skipped"


def _in_force(limits: list[Row]) -> Table:
    table = Table(title="limits and sizes in force", title_justify="left", box=None, pad_edge=False)
    for heading in ("key", "on", "value", "beyond it", "says"):
        table.add_column(heading)
    by_key = sorted(limits, key=lambda row: (row["key"], row["value"], row["source"]))
    for (key, value, source), same in groupby(by_key, lambda row: (row["key"], row["value"], row["source"])):
        rows = list(same)
        beyond = "" if not source else "warns" if rows[0]["warns"] else "fails"
        table.add_row(key, ", ".join(row["column"] for row in rows), escape(value), beyond, escape(source))
    return table


def _sum_up(console: Console, listed: list[Row]) -> None:
    console.print(f"{len({row['check'] for row in listed})} checks in {len({row['title'] for row in listed})} tests")
    runs, every = (
        Counter(row["column"] for row in listed if not row["why_not"]),
        Counter(row["column"] for row in listed),
    )
    for column, count in sorted(every.items()):
        console.print(escape(f"{column}: {runs[column]} of {count} would run"))


def _of_clock(clock: Row) -> str:
    if clock["uncertainty"] is None:
        return f"{clock['column']}: its clock cannot be read: {clock['why_not']}"
    coarse = f"; too coarse for {', '.join(clock['too_coarse_for'])}" if clock["too_coarse_for"] else ""
    return f"{clock['column']}: its clock can be known to {clock['uncertainty'] * 1000:.1f} ms{coarse}"
