"""The socket by which tests and tools tell a running twin what is to go wrong: one JSON line each way."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

from harness.core import UsageError

Obey = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Does what a request asks, and says what there is now."""


class Control:
    """The socket, open until it is closed.

    Args:
        path: where it is.
        obey: does what is asked.
    """

    def __init__(self, path: Path, obey: Obey) -> None:
        path.unlink(missing_ok=True)
        self._path = path

        class Answer(StreamRequestHandler):
            def handle(self) -> None:
                try:
                    reply = {"ok": True, **obey(json.loads(self.rfile.readline()))}
                except (ValueError, TypeError, UsageError) as error:
                    reply = {"ok": False, "error": str(error)}
                self.wfile.write(json.dumps(reply).encode() + b"\n")

        with _short(path) as place:
            self._server = ThreadingUnixStreamServer(place, Answer)
        self._server.daemon_threads = True
        path.chmod(0o600)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

    @staticmethod
    def ask(path: Path, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Ask the socket at ``path``.

        Args:
            path: where it is.
            request: what is asked.
            seconds: how long an answer may take.

        Raises:
            UsageError: it was not understood.
        """
        with socket.socket(socket.AF_UNIX) as connection, _short(path) as place:
            connection.settimeout(seconds)
            connection.connect(place)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                reply: dict[str, Any] = json.loads(lines.readline())
        if not reply.pop("ok"):
            raise UsageError(str(reply["error"]))
        return reply


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of the socket that fits into sun_path (108 bytes), however long the folder's is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
