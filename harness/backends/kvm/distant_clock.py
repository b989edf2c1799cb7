"""The clock of a host on another machine, by an ssh account that the lab gives."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.backends.views import ClockReading
from harness.core import Deadline, LabError
from harness.core.process import need

_PROBES = 9
_ANSWERING = "while read _; do date +%s.%N; done"


class DistantClock:
    """One ssh session, several questions: the quickest answer bounds how old the reading can be.

    Args:
        account: ``user@host`` or ``user@host:port``; key and known host are the controller's own.
        host: the lab's name of the host, for messages.
    """

    def __init__(self, account: str, host: str) -> None:
        where, _, port = account.partition(":")
        port_of_its_own = ["-p", port] if port else []  # else the account's ssh configuration may name one
        self._command = [need("ssh", "openssh-client"), "-T", "-o", "BatchMode=yes", *port_of_its_own, where]
        self._host = host

    def read(self, deadline: Deadline) -> ClockReading:
        """The host's clock now; half the quickest round trip is the uncertainty.

        Raises:
            LabError: ssh does not get in, or the answer is no time.
        """
        with self._session() as session:
            readings = [self._ask(session, deadline) for _ in range(_PROBES)]
        uncertainty, ahead = min(readings)
        return ClockReading(time.monotonic() + ahead, uncertainty)

    def _ask(self, session: subprocess.Popen[bytes], deadline: Deadline) -> tuple[float, float]:
        """Half the round trip, and by how much the host's clock is ahead of this machine's monotonic one."""
        if session.stdin is None or session.stdout is None or session.stderr is None:
            raise self._fault("ssh has no pipes")
        asked = time.monotonic()
        try:
            session.stdin.write(b"\n")
            with selectors.DefaultSelector() as selector:
                selector.register(session.stdout, selectors.EVENT_READ)
                line = session.stdout.readline() if selector.select(deadline.seconds) else b""
            answered = time.monotonic()
            half = (answered - asked) / 2
            return half, float(line) - asked - half
        except (OSError, ValueError) as error:
            with selectors.DefaultSelector() as selector:
                selector.register(session.stderr, selectors.EVENT_READ)
                said = os.read(session.stderr.fileno(), 500).decode("utf-8", "replace") if selector.select(1) else ""
            raise self._fault(said.strip() or f"no time came back: {error}") from error

    def _fault(self, message: str) -> LabError:
        hint = "`clock:` in the lab file names an account that this controller's ssh key opens"
        return LabError(message, host=self._host, operation="clock", hint=hint)

    @contextmanager
    def _session(self) -> Iterator[subprocess.Popen[bytes]]:
        pipe = subprocess.PIPE
        argv = [*self._command, _ANSWERING]
        with subprocess.Popen(argv, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe) as session:
            try:
                yield session
            finally:
                session.kill()
