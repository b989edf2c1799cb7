"""One file, for one who knows the token, as long as it is needed: how a host fetches an image by HTTP."""

from __future__ import annotations

import hmac
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.core import LabError


@dataclass(frozen=True, slots=True)
class Offer:
    """Where the file is, and the word that opens.

    Args:
        url: for the host.
        token: sent as ``Authorization: Bearer``.
    """

    url: str
    token: str


@contextmanager
def offered(path: Path, address: str, host: str) -> Iterator[Offer]:
    """Serve ``path`` while the block runs.

    Args:
        path: the file.
        address: the address by which the host reaches this controller, with ``:port`` if a certain one is wanted.
        host: the lab's name of the host, for messages.

    Raises:
        LabError: this controller cannot listen there.
    """
    token = secrets.token_urlsafe(32)
    place = f"/{secrets.token_urlsafe(16)}"
    name, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = address, "0"

    class Handler(BaseHTTPRequestHandler):
        timeout = 60

        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "").encode("utf-8", "replace")
            if self.path != place or not hmac.compare_digest(given, f"Bearer {token}".encode()):
                self.send_error(404)
                return
            with path.open("rb") as file:
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(path.stat().st_size))
                self.end_headers()
                shutil.copyfileobj(file, self.wfile, 1 << 20)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """To nobody."""

    try:
        server = ThreadingHTTPServer((name.strip("[]"), int(port)), Handler)
    except OSError as error:
        raise LabError(
            f"this controller cannot listen on {address}: {error}",
            host=host,
            operation="publish",
            hint="`pull:` in the lab file is the address of this controller that the host reaches; without it, images "
            "go through WinRM",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield Offer(f"http://{name}:{server.server_port}{place}", token)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
