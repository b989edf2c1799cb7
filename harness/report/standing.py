"""How a run stands while it goes on: a small file on the controller, for `interop status`, and what runs right now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.core import paths
from harness.core.files import write_whole
from harness.report.results import RUNNING, alive

_FOLDER = "standing"
_TRUST = 0.1  # of the run: so much is believed to have gone as expected, before anything has


@dataclass(slots=True)
class Standing:
    """How a run stands.

    Args:
        run: its id.
        lab: the lab's name.
        image: what it was told to boot.
        release: what it installs first; empty: nothing.
        folder: where its results are.
        began: when the first test began, seconds since the epoch.
        total: how many tests of ours there are.
        counts: how many ended, by what became of them.
        left: seconds that those not begun are expected to take, by what they took before and how this run goes.
        workers: how many processes run them.
    """

    run: str
    lab: str
    image: str
    release: str
    folder: str
    began: float
    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    left: float = 0.0
    workers: int = 1

    @property
    def done(self) -> int:
        """How many tests have ended."""
        return sum(self.counts.values())

    def foresee(self, waiting: float, begun: float, now: float) -> None:
        """Set :attr:`left`: more than was expected where the run lags, for tests that never ran count as usual ones.

        Nothing is taken off where it is fast: those that skip themselves come in swarms.

        Args:
            waiting: seconds that those not begun were expected to take.
            begun: seconds that those begun were expected to take.
            now: seconds since the epoch.
        """
        trust = _TRUST * (waiting + begun)
        spent = (now - self.began) * self.workers
        lag = max(1.0, (spent + trust) / (begun + trust)) if waiting else 1.0
        self.left = waiting * lag / self.workers

    def keep(self) -> None:
        """Write it down for others to read.

        Raises:
            OSError: the state folder cannot be written.
        """
        path = _path(self.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(self)).encode())

    def drop(self) -> None:
        """The run is over."""
        _path(self.run).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Now:
    """A test that runs.

    Args:
        label: number, title and parameters.
        pool: the pool it runs for.
        host: the member that runs it; empty: it is not known yet.
        worker: the worker, ``main`` without workers.
        since: when it began, seconds since the epoch.
    """

    label: str
    pool: str
    host: str
    worker: str
    since: float


def standings(alive: Iterable[str]) -> dict[str, Standing]:
    """How runs stand, by id; what dead ones left is dropped.

    Args:
        alive: the runs that live.
    """
    found: dict[str, Standing] = {}
    living = set(alive)
    folder = paths.state() / _FOLDER
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if path.stem not in living:
            path.unlink(missing_ok=True)
            continue
        try:
            found[path.stem] = Standing(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):  # it just ended, or another version wrote it
            continue
    return found


def running(results: Path) -> list[Now]:
    """What runs right now, by the notes that each process of a run keeps in its results; by host."""
    found = []
    for path in sorted((results / RUNNING).glob("*.json")):
        try:
            note = json.loads(path.read_bytes())
            if alive(note["pid"]):
                found.append(_now(path.stem, note))
        except (OSError, ValueError, KeyError, TypeError):  # it just ended
            continue
    return sorted(found, key=lambda one: (one.host or one.pool, one.worker))


def _now(worker: str, note: Mapping[str, Any]) -> Now:
    who = note["identity"]
    values = ", ".join(f"{name}={value}" for name, value in who["parameters"])
    words = " ".join(filter(None, (who["check"], who["title"])))
    label = f"{words} ({values})" if values else words
    return Now(label, who["pool"], who["host"], worker, note["start"] / 1000)


def span(seconds: float) -> str:
    """``0:35``, ``1:04:10``."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _path(run: str) -> Path:
    return paths.state() / _FOLDER / f"{run}.json"
