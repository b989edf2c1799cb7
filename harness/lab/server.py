"""A store on a PostgreSQL server, for what several controllers share. SQLAlchemy is loaded when one is opened.

SQLAlchemy serves SQLite as well, yet the controller's own file is spoken to directly: there a transaction through it
takes 2.6 times the processor time, a read 6 times, and loading it costs every process 0.2 s.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.core import Deadline, LabError, Pending, paths, wait_for
from harness.lab.store import Row, Writer
from harness.lab.tables import POSTGRESQL, STEPS, statements

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult
    from sqlalchemy.exc import DBAPIError

SCHEMA = "interop"
_ALONE = 0x696E7465726F70  # "interop": the advisory lock that makes writers wait for each other
_BUSY = 60.0  # seconds a writer waits for another, and everybody for a server that restarts
_STALE = 60.0  # seconds after which the server's clock is asked again
_SESSION = (
    f"SET search_path TO {SCHEMA}",
    f"SET lock_timeout TO '{_BUSY:.0f}s'",
    # Who stops in the middle of a transaction (a suspended machine, a cut network) must not stop all others for long.
    "SET idle_in_transaction_session_timeout TO '10s'",
)
T = TypeVar("T")


class ServerStore:
    """A :class:`~harness.lab.store.Store` in a schema of a PostgreSQL database; for all threads of a process.

    Args:
        url: ``postgresql://user@host/database``.
        folder: what this controller has to remember in files of its own stands there.

    Raises:
        LabError: the server does not answer, refuses, or holds a newer version's tables; it shows no password.
    """

    def __init__(self, url: str, folder: Path | None = None) -> None:
        try:
            import psycopg  # noqa: F401, PLC0415
            import sqlalchemy as sa  # noqa: PLC0415 - 0.2 s that only labs with a database pay
        except ImportError as error:
            raise LabError(
                "a lab with a database needs sqlalchemy and psycopg",
                operation="database",
                hint="pip install 'interop-harness[shared]'",
            ) from error
        self.folder = folder or paths.state()
        try:
            made = sa.make_url(url).set(drivername="postgresql+psycopg")
        except sa.exc.ArgumentError as error:
            raise LabError("the lab's database is no URL", operation="database") from error
        self._name = made.set(drivername="postgresql").render_as_string(hide_password=True)
        self._error: type[DBAPIError] = sa.exc.DBAPIError
        arguments = {"connect_timeout": 10, "tcp_user_timeout": 20_000, "application_name": "interop"}
        self._engine = sa.create_engine(made, pool_size=2, max_overflow=8, connect_args=arguments)

        @sa.event.listens_for(self._engine, "connect")
        def begin(connection: Any, _: Any) -> None:
            with connection.cursor() as cursor:
                for statement in _SESSION:
                    cursor.execute(statement)
            connection.commit()

        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._offset, self._asked = 0.0, -_STALE
        self._over = False
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    @property
    def slowest(self) -> float:
        """See :attr:`harness.lab.store.Store.slowest`. All who wait in a lab ask the same server."""
        return 2.0

    def now(self) -> float:
        """See :meth:`harness.lab.store.Store.now`: the server's clock, whatever this controller's own is set to."""
        here = time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while a machine is suspended, and is never set
        if here - self._asked > _STALE:
            found = self.rows("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION) AS now")
            here = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._offset, self._asked = found[0]["now"] - here, here
        return here + self._offset

    @contextlib.contextmanager
    def write(self) -> Iterator[Writer]:
        """See :meth:`harness.lab.store.Store.write`. A server that restarts is waited for, but never in the middle."""
        connection = self._patiently(self._begun)
        try:
            with self._told():
                yield _ServerWriter(connection)
                connection.commit()
        finally:
            connection.close()  # rolls back what was not committed
            self._returned()

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """See :meth:`harness.lab.store.Store.rows`."""

        def ask() -> list[Row]:
            try:
                with self._reading.connect() as connection:
                    return _rows(connection.exec_driver_sql(_translated(sql), values))
            finally:
                self._returned()

        return self._patiently(ask)

    def close(self) -> None:
        """See :meth:`harness.lab.store.Store.close`. What another thread is in the middle of, a heartbeat, it ends."""
        self._over = True
        self._engine.pool.dispose()

    def _returned(self) -> None:
        """The pool keeps what is given back to it, also after its end."""
        if self._over:
            self._engine.pool.dispose()

    def _begun(self) -> Connection:
        connection = self._engine.connect()
        try:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ALONE})")
        except BaseException:
            connection.close()
            self._returned()
            raise
        return connection

    def _patiently(self, step: Callable[[], T]) -> T:
        """What a step gives that changes nothing; tried again while the server cannot be reached."""

        def attempt() -> T | Pending:
            try:
                return step()
            except self._error as error:
                if not (error.connection_invalidated or _unreachable(error)):
                    raise
                return Pending(_first_line(error))

        with self._told():
            return wait_for(f"the database {self._name}", attempt, Deadline.after(_BUSY), every=0.2)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise LabError(f"the database {self._name}: {_first_line(error)}", operation="database") from error

    def _create(self) -> None:
        with self.write() as tables:
            if not tables.rows("SELECT 1 FROM pg_namespace WHERE nspname = ?", SCHEMA):
                tables.run(f"CREATE SCHEMA {SCHEMA}")
            tables.run("CREATE TABLE IF NOT EXISTS version (steps INTEGER NOT NULL)")
            known = tables.rows("SELECT steps FROM version")
            version = int(known[0]["steps"]) if known else 0
            if version > len(STEPS):
                raise LabError(
                    f"{self._name} was written by a newer version of the harness",
                    operation="database",
                    hint="update this installation: all controllers of a lab have the same version",
                )
            for statement in statements(version, POSTGRESQL):
                tables.run(statement)
            tables.run("DELETE FROM version")
            tables.run("INSERT INTO version (steps) VALUES (?)", len(STEPS))


class _ServerWriter:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *values: Any) -> int:
        return self._connection.exec_driver_sql(_translated(sql), values).rowcount

    def insert(self, sql: str, *values: Any) -> int:
        # The number stands first in every table that has one.
        found = self._connection.exec_driver_sql(f"{_translated(sql)} RETURNING *", values).first()
        return found[0] if found is not None and isinstance(found[0], int) else 0

    def rows(self, sql: str, *values: Any) -> list[Row]:
        return _rows(self._connection.exec_driver_sql(_translated(sql), values))


class _ServerRow:
    """A row as :class:`harness.lab.store.Row` has it."""

    __slots__ = ("_keys", "_values")

    def __init__(self, keys: list[str], values: tuple[Any, ...]) -> None:
        self._keys = keys
        self._values = values

    def __getitem__(self, column: str | int, /) -> Any:
        return self._values[column if isinstance(column, int) else self._keys.index(column)]

    def keys(self) -> list[str]:
        return self._keys


def _rows(result: CursorResult[Any]) -> list[Row]:
    keys = list(result.keys())
    return [_ServerRow(keys, tuple(row)) for row in result]


@functools.lru_cache(maxsize=256)
def _translated(sql: str) -> str:
    """SQLite's marks for values as psycopg's. The SQL of this room has neither in a text."""
    return sql.replace("?", "%s")


def _unreachable(error: DBAPIError) -> bool:
    """No server, or one that comes and goes: SQLSTATE classes 08 and 57P; no state at all where nobody answered."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        words = str(error.orig)
        return "refused" in words or "No such file" in words or "closed" in words or "timeout" in words
    return str(state).startswith(("08", "57P0"))


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
