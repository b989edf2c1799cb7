"""What tests took in earlier runs: a small file beside the runs, by test and pool."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from harness.core.config import StrictModel
from harness.report.results import write_whole

FILE = "durations.json"
"""Its name, in the folder that holds the runs."""
_KEPT = 5  # runs of each test: a median of five bears two odd ones, and follows a lab that changed within three nights
_UNKNOWN = 10.0  # seconds, where nothing was ever run: all the same is all that is known
_PATIENCE = 10.0  # seconds for whoever else writes it: milliseconds' work


class _File(StrictModel):
    version: Literal[1] = 1
    tests: dict[str, dict[str, list[float]]] = Field(default_factory=dict)
    """Seconds by test and pool, the newest last."""


class Durations:
    """What a test is expected to take, set-up and tear-down included.

    Args:
        path: the file; there may be none yet. One that cannot be read counts as none: it only holds estimates.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tests = _read(path).tests
        self._usual: float | None = None

    def expected(self, test: str, pool: str) -> float:
        """Seconds: the median of the last runs there, else of those on other pools, else of all tests.

        Args:
            test: number, title and parameters, or whatever names it.
            pool: where it is to run.
        """
        pools = self._tests.get(test, {})
        here = pools.get(pool) or [seconds for runs in pools.values() for seconds in runs]
        if here:
            return median(here)
        if self._usual is None:  # once: asked for each new test, it would cost a night the square of its tests
            everything = [median(runs) for known in self._tests.values() for runs in known.values() if runs]
            self._usual = median(everything) if everything else _UNKNOWN
        return self._usual

    def note(self, took: Iterable[tuple[str, str, float]]) -> None:
        """Add what a run took: test, pool and seconds. Another run that ends meanwhile loses nothing by it."""
        lock = FileLock(self._path.with_name(f".{self._path.name}.lock"))
        try:
            with lock.acquire(timeout=_PATIENCE):
                tests = {test: dict(pools) for test, pools in _read(self._path).tests.items()}
                for test, pool, seconds in took:
                    pools = tests.setdefault(test, {})
                    pools[pool] = [*pools.get(pool, []), round(seconds, 3)][-_KEPT:]
                text = json.dumps({"version": 1, "tests": tests}, indent=1, sort_keys=True, ensure_ascii=False)
                write_whole(self._path, text.encode())
                self._tests, self._usual = tests, None
        except Timeout:
            return  # one night less to learn from


def _read(path: Path) -> _File:
    try:
        return _File.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return _File()
