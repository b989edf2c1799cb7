"""Moving bytes beside the API: datastore files and disk images, by HTTPS and streamed from disk."""

from __future__ import annotations

import hashlib
import http
import http.client
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.backends.vsphere import tls
from harness.backends.vsphere.errors import Unavailable, Unreachable
from harness.core import Deadline, LabError

_BLOCK = 1 << 20
_IDLE = 4  # connections kept for the next question: consoles are read often, and a handshake takes several round trips
_SLACK = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server: HTTP's method, path with query, and headers besides the length."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Stream:
    """A file on its way: counts and hashes what was sent, and stops when time is up.

    Args:
        file: open for reading, at its beginning.
        size: how long it is.
        deadline: when to give up.
        host: the lab's name of the host, for messages.
    """

    def __init__(self, file: BinaryIO, size: int, deadline: Deadline, host: str) -> None:
        self.size = size
        self.sent = 0
        self._file = file
        self._deadline = deadline
        self._host = host
        self._digest = hashlib.sha1(usedforsecurity=False)  # what a lease's manifest speaks

    @property
    def sha1(self) -> str:
        """Of what was sent."""
        return self._digest.hexdigest()

    @property
    def percent(self) -> int:
        """How much was sent."""
        return self.sent * 100 // self.size if self.size else 100

    def read(self, size: int = _BLOCK) -> bytes:
        """The next piece, for the connection."""
        if self._deadline.expired:
            raise LabError(
                f"time ran out with {self.percent} % sent",
                host=self._host,
                operation="upload",
                hint="a faster way to the host, or a closer controller, would help",
            )
        piece = self._file.read(size)
        self._digest.update(piece)
        self.sent += len(piece)
        return piece


class Transfer:
    """HTTPS to one server, from any thread.

    Args:
        host: the lab's name of the host, for messages.
        address: host and port of the server.
        context: whom to trust.
        connect_seconds: how long a new connection may take.
    """

    def __init__(self, host: str, address: tuple[str, int], context: ssl.SSLContext, connect_seconds: float) -> None:
        self._host = host
        self._address = address
        self._context = context
        self._connect_seconds = connect_seconds
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPSConnection] = []

    def ask(self, request: Request, limit: int, deadline: Deadline) -> Answer:
        """A request without a body; at most ``limit`` bytes of the answer are read."""
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._asked(kept, request, limit, deadline)
            except (http.client.HTTPException, ConnectionError):
                kept.close()  # closed by the server while it was idle
        with self._errors(request.method):
            return self._asked(self._new(deadline), request, limit, deadline)

    def send(
        self,
        request: Request,
        stream: Stream,
        deadline: Deadline,
        opened: Callable[[http.client.HTTPSConnection], None] = lambda connection: None,
    ) -> Answer:
        """A request with a body; ``opened`` gets the connection, so that another thread can break it off."""
        with self._errors("upload"):
            connection = self._new(deadline)
            opened(connection)
            try:
                headers = {**request.headers, "Content-Length": str(stream.size)}
                try:
                    connection.request(request.method, request.target, body=stream, headers=headers)
                except (ConnectionError, ssl.SSLError):  # a server that refuses need not hear the rest
                    answer = connection.getresponse()
                    if answer.status < http.HTTPStatus.BAD_REQUEST:
                        raise
                else:
                    answer = connection.getresponse()
                return Answer(answer.status, answer.reason, dict(answer.getheaders()), answer.read(_BLOCK))
            finally:
                connection.close()

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _new(self, deadline: Deadline) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(
            self._address[0],
            self._address[1],
            timeout=min(self._connect_seconds, deadline.seconds + 0.1),
            context=self._context,
            blocksize=_BLOCK,
        )
        connection.connect()
        connection.sock.settimeout(deadline.seconds + _SLACK)
        return connection

    def _asked(
        self, connection: http.client.HTTPSConnection, request: Request, limit: int, deadline: Deadline
    ) -> Answer:
        connection.sock.settimeout(deadline.seconds + _SLACK)
        connection.request(request.method, request.target, headers=dict(request.headers))
        answer = connection.getresponse()
        body = answer.read(limit)
        whole = answer.isclosed() or not answer.read(1)
        if whole and not answer.will_close:
            with self._lock:
                if len(self._idle) < _IDLE:
                    self._idle.append(connection)
                    return Answer(answer.status, answer.reason, dict(answer.getheaders()), body)
        connection.close()
        return Answer(answer.status, answer.reason, dict(answer.getheaders()), body)

    @contextmanager
    def _errors(self, operation: str) -> Iterator[None]:
        at = f"{self._address[0]}:{self._address[1]}"
        try:
            yield
        except ssl.SSLError as error:
            raise tls.explained(error, self._host, at) from error
        except TimeoutError as error:
            raise Unreachable(f"{at} did not answer in time", host=self._host, operation=operation) from error
        except (OSError, http.client.HTTPException) as error:
            text = f"the connection to {at} broke: {str(error) or type(error).__name__}"
            raise Unreachable(text, host=self._host, operation=operation) from error


def refused(answer: Answer, host: str, operation: str) -> LabError:
    """An answer that is no success, as an error."""
    text = f"the host answered {answer.status} {answer.reason}"
    if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        return Unavailable(text, host=host, operation=operation, hint="a vCenter that has just started answers so")
    hint = None
    if answer.status == http.HTTPStatus.INSUFFICIENT_STORAGE or b"space" in answer.body[:2000].lower():
        hint = "free space on the datastore, or name another under `datastore:`; `interop reap` removes leftovers"
    return LabError(text, host=host, operation=operation, hint=hint)


@contextmanager
def streamed(path: Path, deadline: Deadline, host: str) -> Iterator[Stream]:
    """A file as a :class:`Stream`."""
    with path.open("rb") as file:
        yield Stream(file, path.stat().st_size, deadline, host)
