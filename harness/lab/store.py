"""Where journal, runs, leases and kept guests are written down: one SQLite file in WAL mode, behind a small protocol.

What several controllers share stands on a server, another :class:`Store` with the same few verbs
(:mod:`harness.lab.server`). The SQL of this room keeps to what SQLite and PostgreSQL share.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from harness.core import LabError, paths
from harness.lab.tables import SQLITE, STEPS, statements

_BUSY = 60.0  # seconds a writer waits for another; a transaction here takes well under a millisecond


class Row(Protocol):
    """A row that a query found: its columns by name or place."""

    def __getitem__(self, column: str | int, /) -> Any:
        """One value."""

    def keys(self) -> list[str]:
        """The columns' names, in order."""


class Store(Protocol):
    """Rows that outlive processes, changed in transactions that are on disk when they end."""

    @property
    def folder(self) -> Path:
        """What else this controller has to remember stands there, in files of its own."""

    @property
    def slowest(self) -> float:
        """The longest pause, in seconds, between two tries of who waits for something here: a try has its price."""

    def now(self) -> float:
        """Seconds since the epoch, by a clock that all who use this store share."""

    def write(self) -> AbstractContextManager[Writer]:
        """One transaction, alone among all processes; rolled back on an exception, else synced to disk."""

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """What a query finds now."""

    def close(self) -> None:
        """Let go of the file."""


class Writer(Protocol):
    """Inside a transaction."""

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement; the number of rows it changed."""

    def insert(self, sql: str, *values: Any) -> int:
        """Insert one row; its number."""

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """What a query finds."""


class SqliteStore:
    """A :class:`Store` in one file. May be used from several threads and by several processes."""

    def __init__(self, path: Path) -> None:
        """Open or create ``path``.

        Raises:
            LabError: it cannot be used: no rights, no space, another program's file, or a newer version's.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _create_private(path)
            self._db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # an intent must be on disk before the host is asked
            self._db.execute("PRAGMA foreign_keys=ON")
            self._create()
        except (OSError, sqlite3.Error) as error:
            raise self._fault(error) from error

    @property
    def folder(self) -> Path:
        """See :attr:`Store.folder`."""
        return self.path.parent

    @property
    def slowest(self) -> float:
        """See :attr:`Store.slowest`. A try costs well under a millisecond."""
        return 0.1

    def now(self) -> float:
        """See :meth:`Store.now`."""
        return time.time()

    @contextlib.contextmanager
    def write(self) -> Iterator[Writer]:
        """See :meth:`Store.write`."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield _SqliteWriter(self._db)
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise self._fault(error) from error

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """See :meth:`Store.rows`."""
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._fault(error) from error

    def close(self) -> None:
        """See :meth:`Store.close`."""
        with self._lock:
            self._db.close()

    def _create(self) -> None:
        with self.write() as tables:
            version = tables.rows("PRAGMA user_version")[0][0]
            if version > len(STEPS):
                raise LabError(
                    f"{self.path} was written by a newer version of the harness", hint="update this installation"
                )
            for statement in statements(version, SQLITE):
                tables.run(statement)
            tables.run(f"PRAGMA user_version = {len(STEPS)}")

    def _fault(self, error: Exception) -> LabError:
        hint = "INTEROP_STATE names a folder on a local disk with space"
        if "malformed" in str(error):
            hint = (
                f"move {self.path.name}* of {self.path.parent} away; machines that only the lost one knew carry our "
                "tags on their hosts, where `interop reap` finds them once their time is up"
            )
        return LabError(f"{self.path}: {error}", operation="journal", hint=hint)


def _create_private(path: Path) -> None:
    """An empty file for its owner alone: whoever could write tokens could make the reaper remove things.

    Never opens ``path``: POSIX drops all locks that a process has on a file when any of its descriptors is closed, and
    SQLite without its locks lets other processes delete the log this one writes to
    (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    with contextlib.suppress(FileExistsError):
        os.mknod(path, 0o600 | stat.S_IFREG)


class _SqliteWriter:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def run(self, sql: str, *values: Any) -> int:
        return self._db.execute(sql, values).rowcount

    def insert(self, sql: str, *values: Any) -> int:
        return self._db.execute(sql, values).lastrowid or 0

    def rows(self, sql: str, *values: Any) -> list[Row]:
        return self._db.execute(sql, values).fetchall()


def open_store(folder: Path | None = None) -> SqliteStore:
    """This controller's store, below :func:`harness.core.paths.state` unless ``folder`` is given."""
    return SqliteStore((folder or paths.state()) / "interop.sqlite3")


def controller() -> str:
    """This machine, as runs note it: name and machine id."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = ""
    return f"{platform.node()}:{(machine or f'{uuid.getnode():012x}')[:12]}"
