"""QEMU as a child that never outlives this process, however it ends: ``kill -9`` included.

The kernel sends the parent-death signal when the *thread* that made the child ends, not the process (prctl(2)). So one
thread that lives as long as the process makes all of them.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from harness.qemu import leash
from harness.qemu.errors import QemuError


class Child:
    """A running program, made by :func:`spawn`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id: the program's own, for the leash became the program."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit status (negative: the signal that killed it), or None if it still runs after ``seconds``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once, and see it gone."""
        self._process.kill()
        self._process.wait()

    def said(self, most: int = 2000) -> str:
        """The end of what it wrote to its log."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - most))
                return file.read(most).decode("utf-8", "replace").strip()
        except OSError:
            return ""


def leashed(argv: Sequence[str]) -> list[str]:
    """The command line for a program that dies with this process, where the thread that starts it stays to the end.

    Args:
        argv: the program by full path, and its arguments.
    """
    return [sys.executable, "-IS", leash.__file__, str(os.getpid()), *argv]


def spawn(argv: Sequence[str], *, log: Path, fds: Sequence[int] = ()) -> Child:
    """Start a program that dies with this process.

    Args:
        argv: the program by full path, and its arguments.
        log: its stdout and stderr, begun anew.
        fds: open files that it inherits under the same numbers.

    Raises:
        QemuError: it cannot be started.
    """
    try:
        with log.open("wb") as output:
            return Child(_spawner().start(leashed(argv), output.fileno(), fds), log)
    except OSError as error:
        raise QemuError(f"{argv[0]} cannot be started: {error}") from error


class _Spawner:
    """The thread that makes children."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._asked: queue.SimpleQueue[tuple[Future[subprocess.Popen[bytes]], Sequence[str], int, Sequence[int]]]
        self._asked = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="spawner", daemon=True).start()

    def start(self, argv: Sequence[str], output: int, fds: Sequence[int]) -> subprocess.Popen[bytes]:
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._asked.put((answer, argv, output, fds))
        return answer.result()

    def _serve(self) -> None:
        while True:
            answer, argv, output, fds = self._asked.get()
            try:
                # A session of its own: Ctrl-C in a terminal is for us to handle, not for our guests.
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=tuple(fds),
                    start_new_session=True,
                )
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                answer.set_exception(OSError(str(error)))
            else:
                answer.set_result(process)


_lock = threading.Lock()
_kept: list[_Spawner] = []


def _spawner() -> _Spawner:
    with _lock:
        if not _kept or _kept[0].pid != os.getpid():  # a fork takes no threads along
            _kept[:] = [_Spawner()]
        return _kept[0]
