"""Processes behind commands: started so that they die with the twin, their streams pumped with back pressure."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from harness import qemu
from harness.core import LabError
from harness.twins.hyperv.programs import Refused, Start, environment

_BUFFER: Final = 1 << 20
"""Bytes of a stream that wait here; beyond, the program waits, as it does for a full pipe on Windows."""

_BARE_NEWLINE: Final = re.compile(rb"(?<!\r)\n")


def _hold_interrupts() -> None:
    """A Ctrl+C for a program waits, while its leash comes up: that one's interpreter may swallow it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


# The kernel's promise to kill a child with its parent is about the parent's *thread*: this one lives as long as we do.
_SPAWNER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner", initializer=_hold_interrupts)
_LEASH: Final = Path(qemu.__file__).with_name("leash.py")


@dataclass(frozen=True, slots=True)
class Output:
    """What a program said since it was last asked.

    Args:
        streams: bytes by stream; those without are left out.
        exit_code: once everything is said and it has ended; None: there may be more.
    """

    streams: Mapping[str, bytes]
    exit_code: int | None = None


class Ended(Exception):
    """The command was ended while somebody waited for it."""


class Command:
    """One command of a shell.

    Args:
        what: the program, or why there is none.
        shell_environment: variables that its shell was created with.
        folder: where it starts.
        piped: whether it gets a pipe to read from; else it reads nothing, as from a console that nobody types on.
    """

    def __init__(
        self, what: Start | Refused, shell_environment: Mapping[str, str], folder: Path, *, piped: bool
    ) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._open = 0
        self._exit: int | None = None
        self._ended = False
        self._input: queue.Queue[tuple[bytes, bool, threading.Event]] = queue.Queue()
        self._process: subprocess.Popen[bytes] | None = None
        if isinstance(what, Refused):
            self._waiting["stderr"] += what.said.encode()
            self._exit = what.exit_code
            return
        self._process = _spawn(what, environment(what, shell_environment), folder, piped=piped and what.reads)
        self._open = 2
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._thread(self._pump, "stdout", self._process.stdout, what.crlf)
        self._thread(self._pump, "stderr", self._process.stderr, what.crlf)
        self._thread(self._await, self._process)
        if self._process.stdin is not None:
            self._thread(self._feed, self._process.stdin)

    @property
    def pid(self) -> int | None:
        """Its process, None without one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def receive(self, wanted: frozenset[str], size: int, seconds: float) -> Output | None:
        """The next output; None when there is none for ``seconds``.

        Args:
            wanted: which streams.
            size: at most so many bytes.
            seconds: how long to wait for some.

        Raises:
            Ended: the command was ended meanwhile.
        """
        until = time.monotonic() + seconds
        with self._changed:
            while not (self._ended or self._done() or any(self._waiting[name] for name in wanted)):
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            if self._ended:
                raise Ended
            streams: dict[str, bytes] = {}
            for name in sorted(wanted, reverse=True):  # stdout first
                buffer = self._waiting[name]
                if buffer and size > 0:
                    streams[name] = bytes(buffer[:size])
                    del buffer[:size]
                    size -= len(streams[name])
            self._changed.notify_all()
            return Output(streams, self._exit if self._done() and not any(self._waiting.values()) else None)

    def send(self, data: bytes, *, end: bool, seconds: float) -> bool:
        """Give it something to read.

        Args:
            data: what.
            end: whether that is all.
            seconds: how long it may take to read it.

        Returns:
            Whether it was taken in time; it will be taken in any case.
        """
        taken = threading.Event()
        self._input.put((data, end, taken))
        if self._process is None or self._process.stdin is None:
            return True  # Windows takes input that nobody reads
        return taken.wait(seconds)

    def interrupt(self) -> None:
        """Ctrl+C."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End its program, with all that the program started. The command stays, with what was said."""
        self._signal(signal.SIGKILL)

    def end(self) -> None:
        """End it; whoever waits for its output hears of it."""
        self.kill()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._input.put((b"", True, threading.Event()))
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)

    def _done(self) -> bool:
        return self._exit is not None and self._open == 0

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _thread(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _pump(self, name: str, stream: IO[bytes], crlf: bool) -> None:
        last = b""
        with stream:
            while data := stream.read(65536):
                if crlf:
                    # A line end whose return came with the last piece is whole already.
                    whole = data.startswith(b"\n") and last.endswith(b"\r")
                    last, data = data, _BARE_NEWLINE.sub(b"\r\n", data)
                    data = data[1:] if whole else data
                with self._changed:
                    while len(self._waiting[name]) > _BUFFER and not self._ended:
                        self._changed.wait()
                    self._waiting[name] += data
                    self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        with self._changed:
            # Windows knows no signals: whoever ends a process says with which code.
            self._exit = code if code >= 0 else 1
            self._changed.notify_all()

    def _feed(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError), stream:  # the program reads no more: Windows says nothing either
            while True:
                data, end, taken = self._input.get()
                try:
                    while data:  # a raw pipe may take a part
                        data = data[stream.write(data) :]
                finally:
                    taken.set()
                if end:
                    return


def _spawn(start: Start, variables: Mapping[str, str], folder: Path, *, piped: bool) -> subprocess.Popen[bytes]:
    leashed = (sys.executable, "-IS", str(_LEASH), str(os.getpid()), *start.argv)

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            leashed,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=folder,
            env=dict(variables),
            start_new_session=True,
        )

    try:
        return _SPAWNER.submit(spawn).result()
    except OSError as error:
        raise LabError(f"{start.argv[0]} could not start: {error.strerror}", operation="Command") from error
