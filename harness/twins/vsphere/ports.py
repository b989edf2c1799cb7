"""Serial ports with a URI: the ESXi listens for one client at a time, which types and hears."""

from __future__ import annotations

import re
import socket
import threading

from harness.core import LabError
from harness.twins.engine.api import EngineMachine
from harness.twins.engine.serial_server import SerialServer
from harness.twins.engine.values import MachineState

_URI = re.compile(r"tcp://[^/:]*:(\d{1,5})")
_ON = {MachineState.RUNNING, MachineState.PAUSED}


class Ports:
    """Those of all machines that are on. Whatever address their URI has, only loopback is listened on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, SerialServer] = {}

    def listen(self, machine: EngineMachine, uri: str) -> None:
        """Listen for a machine that is about to run; no-op without a URI, or with one that is not ``tcp``.

        Raises:
            LabError: the port is taken.
        """
        self.close(machine.key)
        found = _URI.fullmatch(uri)
        if not found:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", int(found[1])))
        except (OSError, OverflowError) as error:
            listener.close()
            raise LabError(f"{uri}: {error}", operation="serial port") from error
        server = SerialServer(
            listener,
            lambda: machine if machine.state in _ON else None,
            lambda present: present.serial_path.stat().st_size,  # what was said to nobody is lost
        )
        with self._lock:
            self._open[machine.key] = server

    def close(self, key: str | None = None) -> None:
        """Close a machine's, or all."""
        with self._lock:
            closed = [self._open.pop(each) for each in ([key] if key else [*self._open]) if each in self._open]
        for server in closed:
            server.close()
