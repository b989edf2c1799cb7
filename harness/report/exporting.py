"""Results to wherever a lab keeps them: exporters are functions that packages announce, by entry point.

An exporter is told the lines of a run's ``results.jsonl`` and a target, and says in a line what became of them. It runs
in a process of its own, after the run: whatever it does, it cannot harm the results.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from harness.core import Deadline, UsageError, process
from harness.core.config import nearest
from harness.report.lines import Line

GROUP = "interop.exporters"
"""The group of entry points."""


class Exporter(Protocol):
    """What an entry point names."""

    def __call__(self, results: Sequence[Line], target: str, /) -> str | None:
        """Bring results somewhere.

        Args:
            results: lines as ``reports/result.schema.json`` describes them; the format is known to this harness.
            target: what the user wrote behind the exporter's name: an address, a file; empty: nothing.

        Returns:
            What became of them, in one line.

        Raises:
            LabError: the target cannot be reached, or refuses; any other exception counts as a defect of the exporter.
        """


def names() -> list[str]:
    """Those that are installed."""
    return sorted({one.name for one in entry_points(group=GROUP)})


def find(name: str) -> EntryPoint:
    """One of them; its package is not loaded.

    Raises:
        UsageError: there is none of that name.
    """
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        there = f"installed are: {', '.join(names())}" if names() else "none is installed"
        hint = f"a package announces one by an entry point in the group {GROUP}; see docs/report.md"
        raise UsageError(f"no exporter is called {name!r}; {there}{nearest(name, names())}", hint=hint)
    return found


def load(name: str) -> Exporter:
    """One of them, loaded.

    Raises:
        UsageError: there is none of that name, or it is no function.
    """
    loaded: Any = find(name).load()
    if not callable(loaded):
        raise UsageError(f"the exporter {name!r} is no function: {find(name).value}")
    return cast("Exporter", loaded)


def apart(run: Path, order: str, deadline: Deadline) -> str:
    """Have ``interop export`` do it in a process of its own.

    Args:
        run: the folder of the run.
        order: ``NAME`` or ``NAME=TARGET``.
        deadline: for the exporter to be done.

    Returns:
        What it said.

    Raises:
        LabError: it failed, or took too long; with what it said.
    """
    argv = [sys.executable, "-m", "harness.cli", "export", str(run), "--to", order]
    return process.run(argv, deadline).decode("utf-8", "replace").strip()
