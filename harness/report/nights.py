"""What runs of many nights held against limits: read back from their results, for calibrating.

Every result of a check that held values against limits carries them as an attachment called :data:`LIMITS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from harness.core import UsageError
from harness.lab.limits import Bounds

LIMITS = "limits and sizes"
"""The name of the attachment."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one passed test came to, by one of its limits: the value that went furthest.

    Args:
        key: the limit's (``L02.boot``).
        pool: where the test ran.
        host: which member of the pool ran it.
        value: in ``unit``.
        unit: the limit's.
        day: when it ran, UTC.
        run: the folder of the run.
        in_force: the limit that it was held against then, in words.
        sizes: how much the check did then: names and values, in order.
        waited: the value is a time that was waited.
    """

    key: str
    pool: str
    host: str
    value: float
    unit: str
    day: date
    run: str
    in_force: str = ""
    sizes: tuple[tuple[str, int | str], ...] = ()
    waited: bool = False


@dataclass(slots=True)
class Nights:
    """Samples of many runs.

    Args:
        samples: those that count.
        failed: how many results were left out because the test had failed.
        broken: results that could not be read.
        runs: how many runs were looked through.
    """

    samples: list[Sample] = field(default_factory=list)
    failed: int = 0
    broken: list[Path] = field(default_factory=list)
    runs: int = 0


def runs_below(folders: Iterable[Path]) -> list[Path]:
    """The results folders that are meant: of a run, or of every run in a folder of runs; each once, oldest first.

    Raises:
        UsageError: one of them is not there, or holds no run.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder", hint="run `pytest` first, or name the --report-dir")
        here = [folder] if any(folder.glob("*-result.json")) else []
        candidates = [*here, folder / "results", *sorted(folder.glob("*/results"))]
        runs = [one.resolve() for one in candidates if any(one.glob("*-result.json"))]
        if not runs:
            raise UsageError(f"{folder}: no test results in it", hint="name a run's folder, or one of runs")
        found |= dict.fromkeys(runs)
    return list(found)


def read(runs: Iterable[Path], *, since: date | None = None, tell: Callable[[int], None] = lambda _: None) -> Nights:
    """Collect the samples of runs.

    Args:
        runs: results folders.
        since: leave out what ran before.
        tell: told how many runs are done, after each.
    """
    nights = Nights()
    for number, folder in enumerate(runs, 1):
        nights.runs = number
        for path in sorted(folder.glob("*-result.json")):
            try:
                result = json.loads(path.read_text(encoding="utf-8"))
                day = datetime.fromtimestamp(result["start"] / 1000, tz=UTC).date()
                taken = list(_samples(folder, result, day))
            except (ValueError, KeyError, TypeError, OSError):  # a run that was killed leaves half a file
                nights.broken.append(path)
                continue
            if since is not None and day < since:
                continue
            if result.get("status") == "passed":
                nights.samples += taken
            elif taken:
                nights.failed += 1
        tell(number)
    return nights


def _samples(folder: Path, result: dict[str, Any], day: date) -> Iterator[Sample]:
    labels = {label["name"]: label["value"] for label in result.get("labels", [])}
    check = labels.get("check", "")
    for attachment in result.get("attachments", []):
        if attachment["name"] != LIMITS:
            continue
        told = json.loads((folder / attachment["source"]).read_text(encoding="utf-8"))
        for limit in told["limits"]:
            # A check may lean on another's limit for what it does on the way; that says little about that one.
            if limit["key"].partition(".")[0] == check:
                yield Sample(
                    key=limit["key"],
                    pool=labels["pool"],
                    host=labels.get("host", labels["pool"]),
                    value=float(limit["value"]),
                    unit=limit["unit"],
                    day=day,
                    run=str(folder),
                    in_force=Bounds(**{end: limit[end] for end in ("at_least", "at_most", "unit")}).range,
                    sizes=tuple(sorted(told["sizes"].items())),
                    waited=bool(limit.get("waited")),
                )
