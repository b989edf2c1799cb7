"""``interop known``: look at known issues without a run."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import UsageError
from harness.lab.known_issues import (
    SOON,
    KnownIssue,
    KnownIssues,
    find_known_issues,
    known_issues_schema,
    load_known_issues,
)
from harness.lab.load import load_lab

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
_LAB = click.option("--lab", metavar="NAME|FILE", help="The file that this lab names, where FILE is left out.")


@click.group("known", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check and list known issues: failures that do not fail a run until their day (docs/known-issues.md)."""


@command.command()
@_FILE
@_LAB
def check(file: Path | None, lab: str | None) -> None:
    """Check a file of known issues, and tell which expire within 30 days, and which have.

    Without FILE it is configs/known-issues.yaml. Every mistake is one line with file, line and column; the exit status
    is then 1, and it is 1 where an entry has expired: what it is about fails runs again.
    """
    found, today = _load(file, lab), dt.date.today()  # noqa: DTZ011  a lab's day is its controller's
    expired = [issue for issue in found.issues if issue.expired(today)]
    soon = [issue for issue in found.issues if not issue.expired(today) and issue.entry.expires - today <= SOON]
    for word, issues in (("expired", expired), ("expires soon", soon)):
        for issue in sorted(issues, key=lambda one: one.entry.expires):
            click.echo(f"{word}: {issue.entry.expires} {issue.entry.check} {issue.entry.tracker} ({issue.where})")
    left = len(found.issues) - len(expired) - len(soon)
    click.echo(
        f"{found.file or 'no file'}: {left} hold, {len(soon)} expire within {SOON.days} days, {len(expired)} have"
    )
    if expired:
        sys.exit(1)


@command.command("list")
@_FILE
@_LAB
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def list_(file: Path | None, lab: str | None, as_json: bool) -> None:
    """List known issues, those first that expire first."""
    found, today = _load(file, lab), dt.date.today()  # noqa: DTZ011
    issues = sorted(found.issues, key=lambda issue: issue.entry.expires)
    if as_json:
        plain = [
            issue.entry.model_dump(mode="json", exclude_unset=True)
            | {"where": issue.where, "expired": issue.expired(today)}
            for issue in issues
        ]
        click.echo(json.dumps(plain, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("until", "check", "where it is about", "tracker", "reason"):
        table.add_column(heading, overflow="fold")
    for issue in issues:
        entry = issue.entry
        style = "red" if issue.expired(today) else "yellow" if entry.expires - today <= SOON else ""
        until = f"{entry.expires}{' expired' if issue.expired(today) else ''}"
        table.add_row(until, entry.check, *map(escape, (_about(issue), entry.tracker, entry.reason)), style=style)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table if issues else f"{found.file or 'no file'}: nothing is known")


@command.command()
def schema() -> None:
    """Print the JSON Schema of files of known issues.

    Editors complete and check a file that begins with `# yaml-language-server: $schema=FILE`.
    """
    click.echo(json.dumps(known_issues_schema(), indent=2))


def _load(file: Path | None, lab: str | None) -> KnownIssues:
    if file is not None and not file.is_file():
        raise UsageError(f"{file}: there is no such file")
    named = load_lab(lab).known_issues if lab and not file else None
    return load_known_issues(find_known_issues(file, named))


def _about(issue: KnownIssue) -> str:
    """What an entry names besides its check, on one line."""
    entry = issue.entry
    named: dict[str, Any] = {"part": entry.part} if entry.part else {}
    named |= entry.params
    for section in (entry.host, entry.guest):
        for key, value in section.model_dump(exclude_unset=True).items():
            named |= value if isinstance(value, dict) else {key: value}
    return ", ".join(f"{key} {value}" for key, value in named.items()) or "everywhere"
