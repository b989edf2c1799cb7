"""``python -m audit``: the report; ``make audit`` brings the program that knows of Python's vulnerabilities first."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from audit import sources
from audit.locks import Locked, read
from audit.sources import Answer

_OWN = Path("build/audit/bin/pip-audit")


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default=Path(), help="The checkout.")
@click.option(
    "--offline", is_flag=True, help="Read the locks alone; nothing is known then of newer versions or defects."
)
@click.option("--strict", is_flag=True, help="Fail also where something could not be asked.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(root: Path, *, offline: bool, strict: bool, as_json: bool) -> None:
    """Report on every locked dependency: version, licence, hash, what is newer, what is known to be wrong.

    The exit status is 1 where one is not pinned by a hash, or is known to be vulnerable.
    """
    locked = read(root)
    newer, wrong = ({}, []) if offline else _asked(root, locked)
    loose = [one.name for one in locked if not one.pinned]
    found = {name: f"{one.about}: {name}: {said}" for one in wrong for name, said in one.told.items()}
    unknown = [f"not known: {one.about}: {one.unknown}" for one in (*newer.values(), *wrong) if one.unknown]
    if offline:
        unknown = ["not known: newer versions and vulnerabilities: nobody was asked (--offline)"]
    rows = [(one, _newer(one, newer)) for one in locked]
    if as_json:
        told = [asdict(one) | {"newer": version} for one, version in rows]
        click.echo(json.dumps({"locked": told, "vulnerable": found, "unknown": unknown}, indent=1))
    else:
        _show(rows)
        for line in (*found.values(), *(f"not pinned by a hash: {name}" for name in loose), *unknown):
            click.echo(line)
    sys.exit(1 if found or loose or not locked or (strict and unknown) else 0)


def _asked(root: Path, locked: list[Locked]) -> tuple[dict[str, Answer], list[Answer]]:
    """What is newer, by kind, and what is wrong."""
    program = str((root / _OWN).absolute()) if (root / _OWN).is_file() else "pip-audit"
    locks = dict.fromkeys((one.kind, one.lock) for one in locked)
    wrong = [sources.wrong_python(root / lock, program) for kind, lock in locks if kind == "python"]
    wrong += [sources.wrong_npm(root) for kind, _ in locks if kind == "npm"]
    wrong += [sources.wrong_go(root / lock) for kind, lock in locks if kind == "go"]
    return {"python": sources.newer_python(), "npm": sources.newer_npm(root)}, wrong


def _newer(one: Locked, newer: dict[str, Answer]) -> str:
    version = newer[one.kind].told.get(one.name, "") if one.kind in newer else ""
    return "" if version == one.version else version


def _show(locked: list[tuple[Locked, str]]) -> None:
    rows = [("lock", "name", "version", "newer", "pinned", "licence")]
    for one, newer in locked:
        rows.append((one.lock, one.name, one.version, newer, "yes" if one.pinned else "NO", one.licence))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        click.echo(
            "  ".join([*(word.ljust(width) for word, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        )
    counts = Counter(one.lock for one, _ in locked)
    click.echo(f"{len(locked)} dependencies: {', '.join(f'{count} in {lock}' for lock, count in counts.items())}")


if __name__ == "__main__":
    command()
