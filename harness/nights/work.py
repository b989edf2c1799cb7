"""A worker: takes cells off the lab's queue and runs them. All it knows about queues is procrastinate's.

Schedule, retries, cancellation and dead workers are the engine's: a periodic task begins nights, a retry strategy tries
broken cells again, an abort cancels the job's task, and jobs whose worker's heartbeat stopped are handed on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from procrastinate import App, BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.builtin_tasks import remove_old_jobs
from procrastinate.exceptions import ConnectorException, JobAborted
from procrastinate.jobs import Job, Status
from procrastinate.types import JSONValue

from harness import __version__
from harness.core import InteropError, LabError
from harness.core.files import write_whole
from harness.core.secrets import heard_by
from harness.lab import confidential
from harness.lab.cordons import cordons
from harness.lab.models import Lab
from harness.nights.attempt import Ended, command, counts, perform
from harness.nights.load import load_night
from harness.nights.models import Cell, Night
from harness.nights.place import Place
from harness.nights.queue import CELL, opened, queue_of
from harness.nights.spool import Spool, left
from harness.nights.starting import start
from harness.report.redact import Redactor

logger = logging.getLogger(__name__)
OUTPUT = "output.txt"
"""What an attempt's pytest printed, beside its results."""
_KEPT_HOURS = 72
"""How long the queue remembers what is over: longer than from one night to the next."""
_LATER = 500
"""How much a cell's priority falls with each try: a host's other cells go first."""
_SOON = 5000
_PATIENCE = 600.0
"""Seconds a place of results may be away before they stay here, for the next worker to bring."""
_TAKEN = 75
"""Exit status of a worker that was taken for dead (EX_TEMPFAIL): whatever started it may start it again."""


class Broken(LabError):
    """The run of a cell broke; trying again may help."""


class Stopped(LabError):
    """The worker is being stopped: somebody else has to do it."""


class Again(BaseRetryStrategy):
    """Broken cells are tried as often as their night allows; what a worker's end interrupted, in any case."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """See :class:`procrastinate.BaseRetryStrategy`."""
        if isinstance(exception, Stopped):
            return RetryDecision()
        if isinstance(exception, Broken) and job.attempts + 1 < _most(job):
            return RetryDecision(priority=job.priority - _LATER)
        return None


@dataclass(slots=True)
class Worker:
    """One process that works on a lab's nights.

    Args:
        lab: whose.
        path: the lab file, as pytest is told it.
        app: the engine.
        nights: whose schedules it keeps; any number of workers may keep the same.
        jobs: how many cells at once, each on another host.
        name: what it is called in results; default: machine and process.
        now: the wall clock.
    """

    lab: Lab
    path: Path
    app: App
    nights: tuple[Night, ...] = ()
    jobs: int = 1
    name: str = field(default_factory=lambda: f"{platform.node()}/{os.getpid()}")
    now: Callable[[], float] = time.time
    refused: str = ""
    """Why it ended by itself: what it was to work on is another version's."""
    _running: set[asyncio.Task[Any]] = field(default_factory=set)
    _engine: asyncio.Future[None] | None = None
    _stopping: bool = False

    def __post_init__(self) -> None:
        queue = queue_of(self.lab)
        self.app.task(name=CELL, queue=queue, pass_context=True, retry=Again())(self.cell)
        # These are short and must not wait for hours behind cells: a worker that is free looks at them first.
        every = min(60, max(1, int(self._silence / 2)))
        stalled = self.app.task(
            name="stalled", queue=queue, priority=_SOON, queueing_lock=f"{queue}/stalled", pass_context=True
        )
        self.app.periodic(cron="* * * * *" if every == 60 else f"* * * * * */{every}")(stalled(self.stalled))
        forget = self.app.task(
            name="forget", queue=queue, priority=_SOON, queueing_lock=f"{queue}/forget", pass_context=True
        )
        self.app.periodic(cron="17 * * * *")(forget(self.forget))
        begin = self.app.task(name="night", queue=queue, priority=_SOON, lock=f"{queue}/night")(self.night)
        for night in self.nights:
            if night.file.schedule:
                said: dict[str, JSONValue] = {"name": str(night.path)}
                self.app.periodic(cron=night.file.schedule, periodic_id=night.name, task_kwargs=said)(begin)

    @property
    def _silence(self) -> float:
        return self.lab.limits.silence.total_seconds()

    @property
    def _heartbeat(self) -> float:
        return self.lab.limits.heartbeat.total_seconds()

    async def run(self, *, once: bool = False) -> None:
        """Work until :meth:`stop`.

        Args:
            once: end when nothing can be taken.
        """
        await asyncio.to_thread(self._bring_left)
        while not self._stopping:
            try:
                async with self.app.open_async():
                    self._engine = asyncio.ensure_future(self._engaged(once=once))
                    await self._engine
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
            except ConnectorException as error:
                logger.warning("the queue cannot be reached: %s", error.__cause__ or error)
            if once or self._stopping:
                return
            await asyncio.sleep(self._heartbeat)  # the database went away: the engine ends then, and begins anew here

    def stop(self) -> None:
        """Take nothing any more; running cells stop as by Ctrl-C, and are somebody else's."""
        self._stopping = True
        for task in self._running:
            task.cancel()
        if self._engine is not None:
            self._engine.cancel()

    async def _engaged(self, *, once: bool) -> None:
        # Without a limit to its grace: where the engine ends for want of its database, running cells can do without.
        await self.app.run_worker_async(
            queues=[queue_of(self.lab)],
            name=self.name,
            concurrency=self.jobs,
            wait=not once,
            update_heartbeat_interval=self._heartbeat,
            stalled_worker_timeout=self._silence,
            fetch_job_polling_interval=self._heartbeat,  # for what nobody is told of: locks that came free
            install_signal_handlers=False,
        )

    async def cell(self, context: JobContext, /, **order: Any) -> str:
        """Run one cell. What becomes of it is said where its results are; the engine is told what it must know."""
        self._one_version(order["night"], str(order.get("harness", "")))
        cell, night, place = Cell(**order["cell"]), order["night"], Place(order["results"])
        attempt = context.job.attempts + 1
        why = await asyncio.to_thread(self._not_now, cell, order["until"])
        if why:
            said = {"status": "unreached", "why": why, "worker": self.name, "at": self._stamp()}
            await asyncio.to_thread(place.end, night, cell.name, attempt, Path("/nonexistent"), said)
            raise JobAborted(why)
        spool = await asyncio.to_thread(Spool.begin, night, cell.name, attempt, order["results"])
        begun = {"worker": self.name, "at": self._stamp(), "cell": order["cell"], "job": context.job.id}
        begun["harness"] = __version__
        await asyncio.to_thread(place.begin, night, cell.name, attempt, begun)
        logger.info("%s: %s, attempt %d", night, cell.name, attempt)
        words = command(
            *(cell, str(self.path)),
            suites=order["suites"],
            markers=order["markers"],
            options=order["options"],
            report_dir=spool.run,
        )
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            if self._stopping:
                raise asyncio.CancelledError
            ended = await perform(
                words,
                spool.run / OUTPUT,
                until=order["until"],
                ours=self._ours(context.job),
                now=self.now,
                every=self._heartbeat,
            )
        except asyncio.CancelledError:
            ended = Ended("stopped", 0, "its worker was stopped" if self._stopping else "somebody cancelled it")
            await asyncio.shield(self._bring(spool, ended))
            if self._stopping:
                raise Stopped(ended.why) from None
            raise
        finally:
            self._running.discard(task)
        await self._bring(spool, ended)
        await self._still_ours(context.job)
        if ended.status == "cut":
            raise JobAborted(ended.why)
        if ended.status != "done":
            raise (LabError if ended.status == "wrong" else Broken)(f"{cell.name}: {ended.why}")
        return ended.status

    def _one_version(self, night: str, began: str) -> None:
        """A night of another version is others' work: its pages would tell apart what only its controllers do.

        Raises:
            Stopped: it is; the cell goes back to the queue, and this worker ends.
        """
        if began == __version__:
            return
        by = f"harness {began}" if began else "a harness that did not say its version"
        self.refused = f"{night} was begun by {by}, and this worker's is {__version__}"
        self.stop()
        raise Stopped(self.refused)

    async def _bring(self, spool: Spool, ended: Ended) -> None:
        """Bring an attempt's results; a place that is away is waited for, and in the end they stay on this disk."""
        said = {"status": ended.status, "exit": ended.exit, "why": ended.why, "worker": self.name}
        said |= {"at": self._stamp(), "counts": counts(spool.run)}
        await asyncio.to_thread(self._unsay, spool)
        spool.ended(said)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                await asyncio.to_thread(spool.bring, said)
                break
            except LabError as error:
                logger.warning("%s: %s: %s", spool.night, spool.cell, error.message)
                if time.monotonic() > deadline:
                    spool.leave()
                    raise
            await asyncio.sleep(self._heartbeat)
        logger.info("%s: %s, attempt %d: %s %s", spool.night, spool.cell, spool.attempt, ended.status, ended.why)

    def _bring_left(self) -> None:
        """What workers that died here left: nobody else can bring it."""
        for spool in left():
            why = f"its worker died, and {self.name} brought what there was"
            said = {"status": "lost", "exit": -9, "why": why, "worker": "", "at": self._stamp()}
            self._unsay(spool)
            try:
                spool.bring(said | {"counts": counts(spool.run)})
                logger.info("%s: %s, attempt %d: %s", spool.night, spool.cell, spool.attempt, why)
            except LabError as error:
                spool.leave()
                logger.warning("%s: %s stays in %s: %s", spool.night, spool.cell, spool.folder, error.message)

    def _unsay(self, spool: Spool) -> None:
        """What a run printed leaves this machine: whatever wrote past pytest there, no secret of the lab goes along."""
        redactor, output = Redactor(), spool.run / OUTPUT
        with heard_by(redactor.register):
            confidential.fetch(self.lab, asking=True)
        if output.is_file():
            write_whole(output, redactor.data(output.read_bytes()))

    async def stalled(self, context: JobContext, timestamp: int) -> None:
        """Hand on what workers held that are not heard of any more: their cells are tried by others, or given up."""
        manager = context.app.job_manager
        for job in await manager.get_stalled_jobs(queue=queue_of(self.lab), seconds_since_heartbeat=self._silence):
            logger.warning("job %s: its worker is not heard of any more", job.id)
            if job.attempts + 1 < _most(job):
                await manager.retry_job(job)
            else:
                await manager.finish_job(job, status=Status.FAILED, delete_job=False)

    async def forget(self, context: JobContext, timestamp: int) -> None:
        """Have the engine drop what is over."""
        over = {"remove_failed": True, "remove_cancelled": True, "remove_aborted": True}
        await remove_old_jobs(context, max_hours=_KEPT_HOURS, queue=queue_of(self.lab), **over)

    def night(self, timestamp: int, name: str) -> str:
        """Begin a night that is due. On another connection: this runs beside the engine's loop."""
        with opened(self.lab) as app:
            started = start(app, load_night(name), datetime.fromtimestamp(timestamp, UTC))
        logger.info("%s has begun: %d cells", started.name, len(started.plan.planned))
        return started.name

    def _not_now(self, cell: Cell, until: float) -> str:
        if self.now() >= until:
            return "the night was over"
        if cell.host not in self.lab.hosts:
            return f"the lab file of {self.name} has no host {cell.host}"
        try:
            with cordons(self.lab) as found:
                cordon = found.all().get(cell.host)
        except InteropError as error:
            raise Broken(f"{cell.name}: {error.message}") from error
        return str(cordon) if cordon is not None else ""

    def _ours(self, job: Job) -> Callable[[], Awaitable[str]]:
        """Whether a job still is this worker's, told by the engine; asking keeps the worker's heart beating as well."""
        heard = time.monotonic()
        manager = self.app.job_manager

        async def ours() -> str:
            nonlocal heard
            try:
                found = list(await manager.list_jobs_async(id=job.id))
                if found and job.worker_id is not None and found[0].worker_id == job.worker_id:
                    await manager.update_heartbeat(job.worker_id)
            except ConnectorException:
                # By then others may have it: whoever cannot ask must assume so.
                silent = time.monotonic() - heard
                return f"the queue was not heard of for {silent:.0f} s" if silent > self._silence else ""
            heard = time.monotonic()
            if found and found[0].abort_requested:
                raise asyncio.CancelledError  # as the engine does it, which may not be listening just now
            if not found or found[0].status != Status.DOING.value or found[0].worker_id != job.worker_id:
                return "this worker was taken for dead, and others may have it"
            return ""

        return ours

    async def _still_ours(self, job: Job) -> None:
        """Before the engine is told how a job ended: it would believe it of another's attempt as well."""
        while True:
            try:
                found = list(await self.app.job_manager.list_jobs_async(id=job.id))
            except ConnectorException:
                await asyncio.sleep(self._heartbeat)  # how it ended is known where its results are: there is time
                continue
            if found and found[0].worker_id == job.worker_id:
                return
            logger.error("job %s: this worker was taken for dead; ending", job.id)
            os._exit(_TAKEN)

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="seconds")


def _most(job: Job) -> int:
    """How often a job is tried."""
    said = job.task_kwargs.get("attempts", 2)
    return said if isinstance(said, int) else 2
