"""ssh to a guest: asyncssh in a background loop behind a small synchronous face.

What asyncssh alone does not promise, and this module does:

* Bytes in, bytes out. A guest may print anything; decoding is the reader's business.
* Output is bounded: beyond a limit it is read and thrown away, and the outcome says so.
* There is always a deadline. A command that overruns it is killed, its connection stays.
* asyncssh returns *normally* with ``exit_status`` None when the peer dies in the middle of a command;
  here that is :class:`ConnectionLost`.
* The host key is pinned: the first connection is verified like every other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import TypeVar

from harness.backends.model import Endpoint
from harness.core import Deadline
from harness.guest import loop
from harness.guest.login import Jump, Login, known_hosts
from harness.guest.wire import (
    CommandTimeout,
    ConnectionLost,
    HostKeyMismatch,
    Outcome,
    Stamp,
    Unreachable,
    Wire,
    short,
)

__all__ = [
    "OUTPUT_LIMIT",
    "CommandTimeout",
    "ConnectionLost",
    "HostKeyMismatch",
    "Jump",
    "Login",
    "Outcome",
    "Ssh",
    "Stamp",
    "Unreachable",
    "known_hosts",
]

T = TypeVar("T")

# More than any fact needs, little enough that a hundred guests printing rubbish do not hurt the controller.
OUTPUT_LIMIT = 16 << 20


class Ssh:
    """One kept connection to a guest; usable from several threads, each command in a channel of its own.

    Args:
        name: the guest's name, for messages.
        endpoint: asked whenever a connection is made, as a guest's forward may have moved.
        login: account, key and pinned host key.
    """

    def __init__(self, name: str, endpoint: Callable[[Deadline], Endpoint], login: Login) -> None:
        self.name = name
        self._endpoint = endpoint
        self._wire = Wire(name, login)
        self._lock = threading.Lock()

    def run(
        self,
        command: str,
        deadline: Deadline,
        *,
        stdin: bytes = b"",
        limit: int = OUTPUT_LIMIT,
        watch: Callable[[], None] | None = None,
        every: timedelta = timedelta(seconds=2),
    ) -> Outcome:
        """Run a command line in the guest's login shell.

        Args:
            command: the line as the guest's shell reads it: quoting is the caller's.
            deadline: when it must have ended.
            stdin: what it reads before end of file.
            limit: bytes kept of stdout, and of stderr.
            watch: called every few seconds while the command runs; what it raises ends the wait.
            every: how often.

        Raises:
            ConnectionLost: the connection broke before the command's status came.
            CommandTimeout: no end by the deadline.
            Unreachable: there was no connection, and none could be made.
            HostKeyMismatch: something else answered.
        """
        self.connect(deadline)
        future = loop.shared().submit(self._wire.run(command, deadline, stdin, limit))
        return self._result(future, deadline, f"`{short(command)}`", watch, every)

    def converse(self, command: str, questions: int, deadline: Deadline) -> tuple[Stamp, ...]:
        """Start ``command``, then write one empty line to it at a time and read one line back.

        A round trip then costs no process start in the guest, and the stamps are taken next to the socket.

        Raises:
            ConnectionLost: as :meth:`run`, also when the command ends early.
            CommandTimeout: as :meth:`run`.
        """
        self.connect(deadline)
        future = loop.shared().submit(self._wire.converse(command, questions, deadline))
        return self._result(future, deadline, f"`{short(command)}`", None, timedelta(seconds=1))

    def connect(self, deadline: Deadline, *, retry: bool = True) -> None:
        """Make sure there is a connection; the one there is serves when it has not closed.

        Args:
            deadline: when to give up.
            retry: whether a port that refuses or says nothing is asked again until then.

        Raises:
            Unreachable: nothing that speaks ssh answered by the deadline, or it refused the key.
            HostKeyMismatch: something else answered.
        """
        with self._lock:
            if self.connected:
                return
            endpoint = self._endpoint(deadline)
            try:
                loop.shared().run(self._wire.connect(endpoint, deadline, retry), deadline.seconds)
            except TimeoutError as error:
                raise Unreachable(f"{self.name} at {endpoint}: no ssh by the deadline", operation="connect") from error

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as this side knows."""
        return self._wire.connected

    @property
    def host_key(self) -> str | None:
        """The guest's public host key: pinned from the start, or as first seen."""
        return self._wire.host_key

    def disconnect(self) -> None:
        """Close the connection without waiting for a peer that may be gone. The next command makes a new one."""
        with self._lock:
            if self._wire.connection is not None:
                loop.shared().run(self._wire.abort(), 1.0)

    def _result(
        self, future: Future[T], deadline: Deadline, what: str, watch: Callable[[], None] | None, every: timedelta
    ) -> T:
        try:
            while True:
                left = deadline.seconds + loop.GRACE
                try:
                    return future.result(min(left, every.total_seconds()) if watch else left)
                except TimeoutError as error:
                    if future.done() or deadline.seconds + loop.GRACE <= every.total_seconds():
                        raise CommandTimeout(f"{self.name}: {what} did not end by its deadline") from error
                    if watch:
                        watch()
        finally:
            if not future.done():
                future.cancel()
