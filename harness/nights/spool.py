"""Where an attempt's run lies until its results are brought: on the worker's own disk, so that none are lost.

A worker that dies, or whose place of results is away, leaves it behind; the next one to start here brings it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import LabError, paths
from harness.lab import locks
from harness.nights.place import Place

_ORDER, _ENDED, _LOCK = "order.json", "ended.json", "lock"


@dataclass(slots=True)
class Spool:
    """One attempt's, while this process has it.

    Args:
        folder: where.
        night: the night's name.
        cell: the cell's.
        attempt: which of its attempts.
        results: the URL of the place of its results.
    """

    folder: Path
    night: str
    cell: str
    attempt: int
    results: str
    _lock: locks.Held

    @classmethod
    def begin(cls, night: str, cell: str, attempt: int, results: str) -> Spool:
        """A new, empty one.

        Raises:
            LabError: the state folder cannot be written, or another process has it.
        """
        folder = _all() / night / cell / str(attempt)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "run").mkdir(parents=True)
            lock = locks.Held.take(folder / _LOCK)
            said = {"night": night, "cell": cell, "attempt": attempt, "results": results}
            (folder / _ORDER).write_text(json.dumps(said))
        except OSError as error:
            raise LabError(f"{folder} cannot be made: {error.strerror}", operation="results") from error
        return cls(folder, night, cell, attempt, results, lock)

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder / "run"

    def ended(self, said: dict[str, Any]) -> None:
        """Note how it ended, before that is brought."""
        (self.folder / _ENDED).write_text(json.dumps(said))

    def bring(self, otherwise: dict[str, Any]) -> None:
        """Bring the results, and drop what is here.

        Args:
            otherwise: how it ended, where nobody noted that.

        Raises:
            LabError: the place is away; all is here still.
        """
        place = Place(self.results)
        try:
            said = json.loads((self.folder / _ENDED).read_text())
        except (FileNotFoundError, ValueError):
            said = otherwise
        (self.run / "latest").unlink(missing_ok=True)  # a link: an object store would get a second copy
        if not place.has_ended(self.night, self.cell, self.attempt):
            place.end(self.night, self.cell, self.attempt, self.run, said)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.leave()

    def leave(self) -> None:
        """This process has no more to do with it. Idempotent."""
        self._lock.release()


def left() -> Iterator[Spool]:
    """What dead workers left here, each taken by this process alone."""
    for file in sorted(_all().glob(f"*/*/*/*/*/*/{_ORDER}")):
        folder = file.parent
        if locks.is_held(folder / _LOCK):
            continue
        try:
            lock = locks.Held.take(folder / _LOCK)
            said = json.loads(file.read_text())
            yield Spool(folder, said["night"], said["cell"], said["attempt"], said["results"], lock)
        except (LabError, OSError, ValueError, KeyError):
            continue  # somebody else was quicker, or it is only half begun: then there is nothing in it


def _all() -> Path:
    return paths.state() / "nights"
