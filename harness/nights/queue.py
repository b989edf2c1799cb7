"""The queue of a lab's nights: procrastinate's tables beside the leases, on the lab's database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from harness.core import LabError, UsageError
from harness.lab.models import Lab
from harness.lab.server import SCHEMA, ServerStore
from harness.nights.models import Cell

if TYPE_CHECKING:
    from procrastinate import App
    from procrastinate.jobs import Job

CELL = "cell"
"""The task that runs one cell."""
_LONGEST = 32
_ALONE = 0x696E74657271  # whoever makes the tables makes others wait
_STATES = {
    "todo": "waiting",
    "doing": "running",
    "succeeded": "done",
    "failed": "broken",
    "cancelled": "cancelled",
    "aborted": "stopped",
}


@dataclass(frozen=True, slots=True)
class Queued:
    """A cell as the queue has it.

    Args:
        job: the engine's number.
        night: the night's name, with its date.
        cell: which.
        state: ``waiting``, ``running``, ``done``, ``broken``, ``cancelled``, ``stopped``, or ``unreached``: it waits,
            and the night is over.
        tried: how many attempts have ended.
        until: when the night is over, seconds since the epoch.
    """

    job: int
    night: str
    cell: Cell
    state: str
    tried: int
    until: float


def queue_of(lab: Lab) -> str:
    """What the lab's queue is called; a channel of PostgreSQL holds the name, and takes no long ones."""
    name = lab.name if len(lab.name) <= _LONGEST else f"{lab.name[:24]}-{sha256(lab.name.encode()).hexdigest()[:7]}"
    return f"lab-{name}"


def make_app(lab: Lab) -> App:
    """The engine on the lab's database, with its tables made. Tasks are added by who works.

    Raises:
        UsageError: the lab has no database, or the engine is not installed.
        LabError: the database cannot be had.
    """
    if lab.database is None:
        raise UsageError(
            f"{lab.path}: a night needs a `database`, where its controllers find the queue", hint="see docs/nights.md"
        )
    try:
        import psycopg  # noqa: PLC0415 - an extra: only nights need it
        from procrastinate import App, PsycopgConnector  # noqa: PLC0415
        from procrastinate.schema import SchemaManager  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "nights need procrastinate and psycopg", hint="pip install 'interop-harness[shared]'"
        ) from error
    url = lab.database.url()
    ServerStore(url).close()  # makes the schema, and refuses another version's
    options = f"-c search_path={SCHEMA}"
    try:
        with psycopg.connect(url, options=options) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ALONE])
            there = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
            if there is None or there[0] is None:
                connection.execute(SchemaManager.get_schema())
    except psycopg.Error as error:
        raise LabError(f"the queue cannot be made: {str(error).splitlines()[0]}", operation="database") from error
    connector = PsycopgConnector(conninfo=url, kwargs={"options": options}, min_size=1, max_size=8)
    # A worker that comes back within the hour still begins the night that was due.
    return App(connector=connector, periodic_defaults={"max_delay": 3600.0})


@contextmanager
def opened(lab: Lab) -> Iterator[App]:
    """The engine, for a command that asks or tells it something.

    Raises:
        UsageError: as :func:`make_app`.
        LabError: as :func:`make_app`; also where it goes away meanwhile.
    """
    app = make_app(lab)
    from procrastinate.exceptions import ConnectorException  # noqa: PLC0415

    try:
        with app.open():
            yield app
    except ConnectorException as error:
        raise LabError(f"the queue of {lab.name}: {error.__cause__ or error}", operation="database") from error


def queued(app: App, lab: Lab, now: float) -> list[Queued]:
    """Every cell that the queue knows of, oldest first."""
    return [queued_as(job, now) for job in app.job_manager.list_jobs(queue=queue_of(lab), task=CELL)]


def queued_as(job: Job, now: float) -> Queued:
    """A job of the engine as a cell."""
    said: dict[str, Any] = job.task_kwargs
    state = _STATES.get(str(job.status), str(job.status))
    if state == "waiting" and now >= said["until"]:
        state = "unreached"
    return Queued(job.id or 0, said["night"], Cell(**said["cell"]), state, job.attempts, said["until"])


def last_of(name: str, cells: Iterable[Queued]) -> list[Queued]:
    """The cells of the newest night of a night file, by the file's name."""
    mine = [one for one in cells if one.night.rpartition("-")[0].rpartition("-")[0] == name]
    newest = max((one.night for one in mine), default="")
    return [one for one in mine if one.night == newest]
