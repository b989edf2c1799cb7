"""A serial port as hosts offer it to clients: one at a time types into it, and hears what it says from then on."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Final

from harness.twins.engine.api import EngineMachine
from harness.twins.engine.values import EngineError

_STEP: Final = 0.05
_LEAVE: Final = 2.0
"""Seconds that a client may take to be rid of."""


class SerialServer:
    """Serves one client after another until it is closed; what is said while nobody listens is lost.

    Args:
        listener: where clients connect, bound.
        machine: whose port it is; None while it is off.
        begin: from which byte since power-on a new client hears.
    """

    def __init__(
        self,
        listener: socket.socket,
        machine: Callable[[], EngineMachine | None],
        begin: Callable[[EngineMachine], int],
    ) -> None:
        self._socket = listener
        self._machine = machine
        self._begin = begin
        self._over = threading.Event()
        self._from = 0
        listener.listen(16)  # one is served at a time, and nobody who comes meanwhile hangs in connect
        listener.settimeout(1)
        self._thread = threading.Thread(target=self._serve, name="serial port", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it is closed."""
        return self._over.is_set()

    def close(self) -> None:
        """No client any more; whoever listens there next finds the port free."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a thread that waits for a client would hold the port
        self._socket.close()
        self._thread.join(_LEAVE)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                self._from = self._begin(self._present())
                gone = threading.Event()  # a client that hangs up makes room for the next at once
                threads = [
                    threading.Thread(target=self._while_there, args=(work, client, gone), daemon=True)
                    for work in (self._more, self._typed)
                ]
                for thread in threads:
                    thread.start()
                threads[0].join()
                client.shutdown(socket.SHUT_RDWR)

    def _present(self) -> EngineMachine:
        machine = self._machine()
        if machine is None:
            raise ConnectionError
        return machine

    def _more(self, client: socket.socket) -> None:
        with self._present().serial_path.open("rb") as log:
            if os.fstat(log.fileno()).st_size < self._from:
                self._from = 0  # begun anew at power-on
            log.seek(self._from)
            data = log.read(65536)
        if data:
            client.sendall(data)
            self._from += len(data)
        else:
            self._over.wait(_STEP)

    def _typed(self, client: socket.socket) -> None:
        data = client.recv(4096)
        if not data:
            raise ConnectionError
        self._present().serial_write(data)

    def _while_there(self, step: Callable[[socket.socket], None], client: socket.socket, gone: threading.Event) -> None:
        try:
            with contextlib.suppress(OSError, EngineError):
                while not self._over.is_set() and not gone.is_set() and self._machine() is not None:
                    step(client)
        finally:
            gone.set()
