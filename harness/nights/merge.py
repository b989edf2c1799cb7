"""What became of a night, from its place of results alone: every planned cell in one state, and its results found.

A page is made of cells that differ by host alone; the table tells of all. A cell that ran twice, or whose worker died,
says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.nights.place import Place
from harness.report.alike import refuse

WHOLE = ("done", "cut", "stopped", "broken", "wrong", "lost")
"""What an attempt that began and ended may have ended as (:class:`harness.nights.attempt.Ended`)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a cell.

    Args:
        number: from 1.
        status: how it ended; ``unreached``: it never began; ``gone``: it began, and its worker was not heard of again.
        worker: who made it.
        why: in words.
        counts: how many tests, failures, errors, skipped.
    """

    number: int
    status: str
    worker: str
    why: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Became:
    """What became of a planned cell.

    Args:
        name: the cell's.
        page: which page it stands on.
        host: its host.
        attempts: all that were made, oldest first.
        why: why it was planned, where the product did not do that alone.
    """

    name: str
    page: str
    host: str
    attempts: tuple[Attempt, ...]
    why: str = ""

    @property
    def counted(self) -> Attempt | None:
        """The attempt whose results count: the newest that ran to its end, else the newest that left any."""
        ended = [one for one in self.attempts if one.status in WHOLE]
        done = [one for one in ended if one.status == "done"]
        return next(reversed(done or ended), None)

    @property
    def state(self) -> str:
        """``done``, ``cut``, ``stopped``, ``broken``, ``wrong``, ``lost``, ``gone``, or ``unreached``."""
        if self.counted is not None:
            return self.counted.status
        return self.attempts[-1].status if self.attempts else "unreached"

    @property
    def remarks(self) -> list[str]:
        """What must not go unsaid of how it came about."""
        said = []
        for one in self.attempts:
            if one.status == "gone":
                said.append(f"attempt {one.number}: {one.worker} was not heard of again, nor its results")
            elif one is not self.counted and one.status != "unreached":
                said.append(f"attempt {one.number} by {one.worker}: {one.status}{f', {one.why}' if one.why else ''}")
        done = sum(one.status == "done" for one in self.attempts)
        if done > 1:
            said.append(f"it ran {done} times to its end; the last one counts")
        counted = self.counted or (self.attempts[-1] if self.attempts else None)
        if counted is not None and counted.why:
            said.append(counted.why)
        return said + ([self.why] if self.why else [])


@dataclass(frozen=True, slots=True)
class Merged:
    """A night.

    Args:
        said: its ``night.json``.
        cells: what became of each planned cell.
        strangers: cells that have results, and that the night never planned.
    """

    said: Mapping[str, Any]
    cells: tuple[Became, ...]
    strangers: tuple[str, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many cells are in which state."""
        return Counter(cell.state for cell in self.cells)


def merged(place: Place, night: str) -> Merged:
    """Read a night.

    Args:
        place: where its results are.
        night: its name.

    Raises:
        UsageError: there is no such night, or controllers of several versions had a part in it.
        LabError: its place cannot be read.
    """
    said = place.night(night)
    attempts = place.attempts(night)
    refuse(_versions(said, attempts), f"{night}: controllers of several versions of the harness")
    cells = [
        Became(
            *(one["name"], one["page"], one["host"]),
            tuple(_attempt(number, told) for number, told in sorted(attempts.pop(one["name"], {}).items())),
            one.get("why", ""),
        )
        for one in said["cells"]
    ]
    return Merged(said, tuple(cells), tuple(sorted(attempts)))


def pages(place: Place, night: str, found: Merged, scratch: Path) -> dict[str, list[Path]]:
    """By page, the folders with results of runs, fetched into ``scratch`` where they are not on this machine."""
    folders: dict[str, list[Path]] = {}
    for cell in found.cells:
        counted = cell.counted
        if counted is None:
            continue
        run = place.fetch(night, cell.name, counted.number, scratch / cell.name)
        results = sorted(run.glob("*/results")) if run is not None else []
        folders.setdefault(cell.page, []).extend(one for one in results if next(one.glob("*-result.json"), None))
    return {page: found for page, found in folders.items() if found}


def _versions(said: Mapping[str, Any], attempts: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> dict[str, str]:
    """Who had a part in it with which version; whoever does not say is of before it was asked."""
    told = {"night.json": said} | {
        str(one["begun"].get("worker", cell)): one["begun"]
        for cell, numbers in attempts.items()
        for one in numbers.values()
        if "begun" in one
    }
    return {who: str(each["harness"]) for who, each in told.items() if each.get("harness")}


def _attempt(number: int, told: Mapping[str, Any]) -> Attempt:
    ended = told.get("ended")
    if ended is None:
        return Attempt(number, "gone", str(told["begun"].get("worker", "")))
    return Attempt(
        number, str(ended["status"]), str(ended.get("worker", "")), str(ended.get("why", "")), ended.get("counts") or {}
    )
