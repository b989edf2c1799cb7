"""Serial ports that an ESXi listens for: heard from power-on by threads of this process, and kept in files here.

What an ESXi says on such a port while nobody is connected is lost, and it takes one client at a time: the first process
that asks for a machine's port keeps it until it ends, and others read the same file and type through it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from harness.qemu.logs import trim

_AGAIN = 0.2
"""Seconds until the next try: a machine that is off has nobody who listens."""
_STEP = 0.05
_CONNECT = 5.0


class Wires:
    """Those of one host's machines.

    Args:
        folder: of this controller, for what was heard.
        address: the ESXi's, for its serial ports.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._address = address
        self._lock = threading.Lock()
        self._wires: dict[str, Wire] = {}

    def follow(self, machine: str, port: int, *, fresh: bool = False) -> Wire:
        """Hear a machine's port from now on.

        Args:
            machine: its id.
            port: where its ESXi listens.
            fresh: it is about to be powered on: what was heard before is of another power session.
        """
        with self._lock:
            if machine not in self._wires:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._wires[machine] = Wire(self._folder / machine, self._address, port)
            wire = self._wires[machine]
        if fresh:
            wire.begin()
        return wire

    def forget(self, machine: str) -> None:
        """The machine is gone."""
        with self._lock:
            wire = self._wires.pop(machine, None)
        if wire is not None:
            wire.close()
        for path in self._folder.glob(f"{machine}.*"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Hang up everywhere; what was heard stays."""
        with self._lock:
            wires = list(self._wires.values())
            self._wires.clear()
        for wire in wires:
            wire.close()


class Wire:
    """One serial port, as :class:`~harness.backends.protocol.Console`.

    Args:
        path: of its files, without their endings.
        address: where it listens.
        port: and on which port.
    """

    def __init__(self, path: Path, address: str, port: int) -> None:
        self._heard, self._typed = path.with_name(f"{path.name}.log"), path.with_name(f"{path.name}.keys")
        self._claim = FileLock(path.with_name(f"{path.name}.lock"))
        self._where = (address, port)
        self._over = threading.Event()
        for file in (self._heard, self._typed):
            file.touch(mode=0o600)
        self._thread = threading.Thread(target=self._run, name=f"serial port {path.name}", daemon=True)
        self._thread.start()

    def read(self, offset: int, limit: int) -> bytes:
        """What was heard since power-on."""
        with contextlib.suppress(FileNotFoundError), self._heard.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
        return b""

    def write(self, data: bytes) -> None:
        """Type; while nobody listens there, it waits."""
        with self._typed.open("ab") as file:
            file.write(data)

    def begin(self) -> None:
        """Another power session."""
        for file in (self._heard, self._typed):
            with contextlib.suppress(FileNotFoundError):
                os.truncate(file, 0)

    def close(self) -> None:
        """Hang up."""
        self._over.set()
        self._thread.join(_CONNECT)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._claim.acquire(timeout=0):
                    self._hear()
            except Timeout:  # another process has it
                self._over.wait(_AGAIN)

    def _hear(self) -> None:
        sent = self._typed.stat().st_size if self._typed.exists() else 0
        while not self._over.is_set():
            line = self._connected()
            if line is None:
                self._over.wait(_AGAIN)
                continue
            with line, contextlib.suppress(OSError):
                line.settimeout(_STEP)
                while not self._over.is_set():
                    sent = self._type(line, sent)
                    try:
                        data = line.recv(65536)
                    except TimeoutError:
                        continue
                    if not data:
                        break
                    with self._heard.open("ab") as file:
                        file.write(data)
                    trim(self._heard)  # a guest may print for hours
            self._over.wait(_STEP)

    def _connected(self) -> socket.socket | None:
        """To whoever listens there; None while nobody does.

        Asked for a port of this machine that nobody listens on, the kernel may lend that very port to the socket that
        asks, which is then connected to itself (RFC 9293, 3.5) and keeps others from listening there.
        """
        try:
            line = socket.create_connection(self._where, timeout=_CONNECT)
        except OSError:
            return None
        if line.getsockname() != line.getpeername():
            return line
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # and is gone at once
        line.close()
        return None

    def _type(self, line: socket.socket, sent: int) -> int:
        """Send what was typed since; how much was sent by now."""
        with self._typed.open("rb") as file:
            if os.fstat(file.fileno()).st_size < sent:
                sent = 0  # begun anew
            file.seek(sent)
            more = file.read(4096)
        if more:
            line.sendall(more)
        return sent + len(more)
