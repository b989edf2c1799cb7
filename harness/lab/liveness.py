"""Who is alive: on this controller a held lock says so, on others a heartbeat and an expiry.

A *member* is one process of a run: the one that began it, or a worker that joined. A run lives while a member does.
On a server that controllers share each member has a heartbeat of its own (:mod:`harness.lab.membership`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.core import paths
from harness.lab import locks
from harness.lab.store import Row, controller

_SILENCE = 300.0  # seconds without a heartbeat before an expired run of another controller counts as dead


class Reader(Protocol):
    """A store, or a transaction of one."""

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """What a query finds."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """Answers for one controller.

    Args:
        folder: where the members' lock files are.
        here: this controller, as runs note it.
        now: the wall clock, seconds since the epoch.
    """

    folder: Path = field(default_factory=lambda: paths.state() / "runs")
    here: str = field(default_factory=controller)
    now: Callable[[], float] = time.time

    def lock(self, run: str, member: str) -> Path:
        """The lock file of a member."""
        return self.folder / f"{run}-{member}.lock"

    def member(self, reader: Reader, run: str, member: str) -> bool:
        """Whether this process of the run still lives."""
        rows = reader.rows("SELECT * FROM runs WHERE id = ?", run)
        if not rows or rows[0]["ended"] is not None or rows[0]["reaped"] is not None:
            return False
        if rows[0]["controller"] != self.here:
            return self._member_heard_of(reader, rows[0], member)
        return locks.is_held(self.lock(run, member))

    def run(self, reader: Reader, run: str) -> bool:
        """Whether any process of the run still lives."""
        rows = reader.rows("SELECT * FROM runs WHERE id = ?", run)
        if not rows or rows[0]["ended"] is not None or rows[0]["reaped"] is not None:
            return False
        if rows[0]["controller"] != self.here:
            return self._heard_of(rows[0])
        members = reader.rows("SELECT id FROM members WHERE run = ? AND ended IS NULL", run)
        return any(locks.is_held(self.lock(run, row["id"])) for row in members)

    def _member_heard_of(self, reader: Reader, run: Row, member: str) -> bool:
        """On a server each process beats for itself; in a file that came from another machine, runs alone did."""
        found = reader.rows("SELECT heard, silence, ended FROM members WHERE id = ?", member)
        if not found or not found[0]["silence"]:
            return self._heard_of(run)
        return found[0]["ended"] is None and self.now() <= found[0]["heard"] + found[0]["silence"]

    def _heard_of(self, run: Row) -> bool:
        now = self.now()
        return bool(now <= run["expiry"] or now <= run["heartbeat"] + _SILENCE)
