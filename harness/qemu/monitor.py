"""QEMU's monitor (QMP) for threads: ask and get an answer, ask and wait for an event.

Protocol: QEMU, ``docs/interop/qmp-spec`` and ``qapi/``. The library ``qemu.qmp`` speaks it, in one event loop that runs
in a thread of its own and serves all monitors of the process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecInterruptedError, ExecuteError, QMPClient, QMPError, Runstate

from harness.qemu.errors import QemuError

T = TypeVar("T")
Event = Mapping[str, Any]

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())  # what goes wrong is raised, not also printed

_KEPT = 512  # events that nobody waited for


class MonitorRefused(QemuError):
    """QEMU understood and said no; the message is QEMU's."""


class MonitorLost(QemuError):
    """QEMU ended, hung up, or did not answer in time."""


class Monitor:
    """A connection to one QEMU.

    Args:
        connection: our end; QEMU's is a ``-chardev socket`` that ``-mon mode=control`` uses.
        seconds: how long QEMU may take to greet, and to answer by default.
        heard: called with every event, in the event loop's thread: it must return at once and ask nothing.

    Raises:
        MonitorLost: QEMU did not greet.
    """

    def __init__(
        self, connection: socket.socket, *, seconds: float = 60.0, heard: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._seconds = seconds
        self._heard = heard
        self._client = QMPClient()
        self._events: deque[tuple[int, Event]] = deque(maxlen=_KEPT)
        self._count = itertools.count(1)
        self._last = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        # A filter that wants nothing hears everything, at once and in order, and nothing is queued.
        self._client.register_listener(EventListener(event_filter=self._note))
        self._closing = False
        connection.setblocking(False)
        self._run(self._connect(connection), seconds)  # the library cleans up after a failure itself

    def ask(self, command: str, seconds: float | None = None, /, **arguments: Any) -> Any:
        """The ``return`` value of a command; an underscore in an argument's name stands for a hyphen.

        Raises:
            MonitorRefused: QEMU said no.
            MonitorLost: no answer.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self.command(command, named, seconds)

    def command(self, command: str, arguments: Mapping[str, Any], seconds: float | None = None) -> Any:
        """As :meth:`ask`, with arguments that are named as they are."""
        return self._run(self._client.execute(command, dict(arguments) or None), seconds or self._seconds, command)

    def mark(self) -> int:
        """A point in the stream of events: those after it are not missed by :meth:`await_event`."""
        with self._changed:
            return self._last

    def await_event(self, since: int, wanted: Callable[[Event], bool], seconds: float) -> Event | None:
        """The first event after ``since`` that is wanted, or None when none comes in time or QEMU ended."""
        until = time.monotonic() + seconds
        with self._changed:
            while True:
                for number, event in self._events:
                    if number > since and wanted(event):
                        return event
                left = until - time.monotonic()
                if left <= 0 or self._ended.is_set():
                    return None
                self._changed.wait(left)

    def await_end(self, seconds: float) -> bool:
        """Whether QEMU hung up within ``seconds``: all that it said has been heard then."""
        return self._ended.wait(seconds)

    def job(self, command: str, seconds: float, /, **arguments: Any) -> None:
        """Run a command that makes a background job, to its end.

        Raises:
            MonitorRefused: the command or the job failed.
            MonitorLost: it did not end in time.
        """
        name = f"job{next(self._count)}"
        since = self.mark()
        self.ask(command, None, job_id=name, **arguments)

        def concluded(event: Event) -> bool:
            data = event.get("data", {})
            return bool(event["event"] == "JOB_STATUS_CHANGE" and data["id"] == name and data["status"] == "concluded")

        if self.await_event(since, concluded, seconds) is None:
            raise MonitorLost(f"{command} did not end within {seconds:.0f} s")
        jobs = [job for job in self.ask("query-jobs") if job["id"] == name]
        self.ask("job-dismiss", id=name)
        for job in jobs:
            if job.get("error"):
                raise MonitorRefused(f"{command}: {job['error']}")

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(QemuError):
            self._run(self._hang_up(), 5.0)
        self._ended.wait(5.0)

    async def _connect(self, connection: socket.socket) -> None:
        await self._client.connect(connection)
        _background(self._watch())

    async def _watch(self) -> None:
        """Notice that QEMU hung up: the library tells only who asks it."""
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        if not self._closing:  # the library does not bear to be told twice
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._client.disconnect()
        self._ended.set()
        with self._changed:
            self._changed.notify_all()

    async def _hang_up(self) -> None:
        if self._client.runstate is Runstate.RUNNING:
            self._closing = True
            await self._client.disconnect()

    def _note(self, message: Mapping[str, Any]) -> bool:
        event: Event = dict(message)
        with self._changed:
            self._last += 1
            self._events.append((self._last, event))
            self._changed.notify_all()
        self._heard(event)
        return False

    def _run(self, work: Coroutine[Any, Any, T], seconds: float, what: str = "the monitor") -> T:
        future = asyncio.run_coroutine_threadsafe(work, _loop())
        try:
            return future.result(seconds)
        except ExecuteError as error:
            raise MonitorRefused(f"{what}: {error}") from error
        except ExecInterruptedError as error:
            raise MonitorLost(f"QEMU ended during {what}") from error
        except concurrent.futures.TimeoutError as error:
            future.cancel()
            raise MonitorLost(f"QEMU did not answer to {what} within {seconds:.0f} s") from error
        except (QMPError, OSError, EOFError, concurrent.futures.CancelledError) as error:
            raise MonitorLost(f"QEMU does not answer to {what}: {error}") from error


_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}
_tasks: set[asyncio.Task[None]] = set()


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="qmp", daemon=True).start()
        return loop


def _background(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)  # the loop itself holds tasks weakly
    task.add_done_callback(_tasks.discard)
