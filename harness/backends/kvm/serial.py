"""The first serial port: QEMU writes its output to a file and takes input from a socket."""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt

from harness.backends.kvm.base import MachineBase
from harness.backends.kvm.connection import Connection, send
from harness.backends.kvm.xml import attribute
from harness.backends.protocol import Console, WrongState
from harness.core import Deadline, LabError
from harness.qemu import logs

MOST_LOG = 64 << 20
"""A guest may print rubbish for hours; above this the middle of its console is given back to the file system."""

KEPT_HEAD, KEPT_TAIL = 4 << 20, 16 << 20
_EVERY_MS = 15_000


class FileConsole:
    """A console whose output is a local file.

    Args:
        log: the file QEMU appends to.
        path: the port's Unix socket.
        host: the lab's name of the host, for messages.
    """

    def __init__(self, log: Path, path: Path, host: str) -> None:
        self._log = log
        self._path = path
        self._host = host
        self._lock = threading.Lock()
        self._line: socket.socket | None = None

    def read(self, offset: int, limit: int) -> bytes:
        """Output from ``offset``, which counts from power-on. What was given back reads as zero bytes."""
        trim(self._log)
        try:
            with self._log.open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""  # never started

    def write(self, data: bytes) -> None:
        """Type. The line stays open: QEMU forgets typed bytes that the guest has not taken when it is closed."""
        with self._lock:
            try:
                line = self._line or self._connect()
                line.sendall(data)
            except OSError:
                self.hang_up()
                line = self._connect()
                line.sendall(data)

    def forget(self) -> None:
        """Begin anew at offset 0: the machine is about to be switched on."""
        self.hang_up()
        with suppress(FileNotFoundError):
            os.truncate(self._log, 0)

    def hang_up(self) -> None:
        """Close the line, e.g. because the machine's QEMU has ended."""
        line, self._line = self._line, None
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)  # ends the draining thread

    def _connect(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(10)
        try:
            line.connect(str(self._path))
        except OSError as error:
            line.close()
            if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                raise WrongState("the machine is off: nobody listens on its serial port", host=self._host) from error
            raise LabError(
                f"the serial port cannot be typed into: {error}",
                host=self._host,
                operation="console",
                hint="one process at a time may type; is another one doing so?",
            ) from error
        line.settimeout(None)
        threading.Thread(target=_drain, args=(line,), name="console-drain", daemon=True).start()
        self._line = line
        return line


class StreamConsole:
    """A console behind a daemon: its log is a volume, typing goes through libvirt's stream.

    Args:
        connection: the host.
        machine: UUID of the domain.
        read: reads a piece of the log.
    """

    def __init__(self, connection: Connection, machine: str, read: Callable[[int, int], bytes]) -> None:
        self._connection = connection
        self._machine = machine
        self._read = read
        self._stream: Any = None

    def read(self, offset: int, limit: int) -> bytes:
        """Output from ``offset``, which counts from the start of the present QEMU."""
        return self._read(offset, limit)

    def write(self, data: bytes) -> None:
        """Type. The stream stays open, and what comes back on it is dropped: the log has it."""
        if self._stream is None:
            self._stream = self._connection.call("console", self._open, Deadline.after(30))
        stream = self._stream
        self._connection.call("console", lambda _: send(stream, data), Deadline.after(30))

    def hang_up(self) -> None:
        """Close the stream, e.g. because the machine's QEMU has ended."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(libvirt.libvirtError):
                stream.abort()

    def _open(self, connection: Any) -> Any:
        stream = connection.newStream(0)
        connection.lookupByUUIDString(self._machine).openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        threading.Thread(target=_drop, args=(stream,), name="console-drop", daemon=True).start()
        return stream


def _drop(stream: Any) -> None:
    with suppress(libvirt.libvirtError):
        while stream.recv(65536):
            pass


def _drain(line: socket.socket) -> None:
    """Output is read from the file; unread here, it would stall the guest's port."""
    with suppress(OSError), line:
        while line.recv(65536):
            pass


def trim(log: Path) -> None:
    """Give the middle of an overlong log back to the file system; offsets stay what they are."""
    logs.trim(log, most=MOST_LOG, head=KEPT_HEAD, tail=KEPT_TAIL)


@functools.cache
def keep_trimmed(machines: Path) -> None:
    """Trim the logs of all machines below a folder for as long as this process lives, whether somebody reads or not."""

    def look(_timer: int, _opaque: Any) -> None:
        for log in machines.glob("*/console.log"):
            trim(log)

    libvirt.virEventAddTimeout(_EVERY_MS, look, None)


class Serial(MachineBase):
    """The verb :meth:`Machine.console`."""

    _console: FileConsole | StreamConsole | None = None

    def console(self) -> Console:
        """The first serial port."""
        with self._lock:
            if self._console is None:
                port = self._xml(Deadline.after(30), inactive=True)
                log = attribute(port, "devices/serial/log", "file")
                path = attribute(port, "devices/serial/source", "path")
                if self._host.kind.embedded:
                    self._console = FileConsole(Path(log), Path(path), self._host.name)
                else:
                    self._console = StreamConsole(self._host.connection, self._uuid, self._reader(log))
            return self._console

    def _reader(self, log: str) -> Callable[[int, int], bytes]:
        return lambda offset, limit: self._host.places.read(log, offset, limit, Deadline.after(30))

    def _begin_console(self) -> None:
        """A new power session begins its console at 0; QEMU appends, so that save and restore keep it."""
        console = self.console()
        if isinstance(console, FileConsole):
            console.forget()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._console is not None:
            self._console.hang_up()
