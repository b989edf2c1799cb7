"""HTTP on unix sockets between the twin's two processes; nobody else can open them, and no port is taken."""

from __future__ import annotations

import http.client
import json
import os
import socket
import socketserver
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from harness.core import LabError

Answer = tuple[int, Mapping[str, Any]]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("twin", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with _Short(self._path) as short:
            self.sock.connect(short)


class _Short:
    """A socket's address within 108 bytes, however long its folder's name is: through a descriptor of the folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = -1

    def __enter__(self) -> str:
        self._folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)


def post(path: Path, where: str, body: Mapping[str, Any], seconds: float = 30.0) -> Any:
    """Send JSON, and return the JSON that comes back, if any.

    Raises:
        LabError: nobody is there, or it was refused; with what was said.
    """
    connection = _Connection(path, seconds)
    try:
        connection.request("POST", where, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"the twin does not answer at {path}: {error}", operation=where) from error
    finally:
        connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise LabError(said.decode("utf-8", "replace").strip(), operation=where)
    return json.loads(said) if said else None


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers JSON by JSON.

    Args:
        path: the socket.
        answer: called in a thread of its own with the request's path and body; returns status and answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path, answer: Callable[[str, Mapping[str, Any]], Answer]) -> None:
        self._answer = answer
        path.unlink(missing_ok=True)
        before = os.umask(0o077)
        try:
            with _Short(path) as short:
                super().__init__(short, _Handler)
        finally:
            os.umask(before)

    def answer(self, where: str, body: Mapping[str, Any]) -> Answer:
        """One request."""
        return self._answer(where, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        """Everything is a POST."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.server.answer(self.path.strip("/"), body)
        said = json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
