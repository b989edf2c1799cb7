"""Unix sockets to a machine's serial ports: bound by us, served by QEMU, whatever the length of their folder's name."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from harness.twins.engine.values import EngineError

_PIECE = 65536


def listener(path: Path) -> socket.socket:
    """A socket that listens at ``path``, to be handed to QEMU."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    with _near(path.parent) as near:
        bound.bind(f"{near}/{path.name}")
    path.chmod(0o600)
    bound.listen(1)
    return bound


def connected(path: Path, seconds: float) -> socket.socket:
    """A line to whoever listens at ``path``.

    Raises:
        EngineError: nobody does.
    """
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(seconds)
    try:
        with _near(path.parent) as near:
            line.connect(f"{near}/{path.name}")
    except OSError as error:
        line.close()
        raise EngineError(f"nobody answers at {path}: {error.strerror or error}", operation="serial") from error
    return line


class Keyboard:
    """Types into a serial port of one QEMU.

    The line stays open while that QEMU lives: closing it would lose what the guest has not read yet. Once closed it
    stays so: the next QEMU of the same machine listens at the same path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._over = False

    def type(self, data: bytes, seconds: float) -> None:
        """Returns when all of it is on its way.

        Raises:
            EngineError: it was not taken in time: the guest does not read, or its machine has ended.
        """
        with self._lock:
            if self._over:
                raise EngineError("the machine has ended", operation="serial")
            self._line = self._line or self._open(seconds)
            try:
                self._line.sendall(data)
            except OSError as error:
                raise EngineError(f"the serial port takes no more: {error.strerror}", operation="serial") from error

    def close(self) -> None:
        """Hang up."""
        with self._lock, contextlib.suppress(OSError):
            self._over = True
            if self._line is not None:
                self._line.shutdown(socket.SHUT_RDWR)  # ends the draining thread, which closes it

    def _open(self, seconds: float) -> socket.socket:
        line = connected(self._path, seconds)
        # Blocking, for two threads use it; the kernel limits the one that writes.
        line.settimeout(None)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), 0))
        # What nobody takes would stop the guest's output; it is in the log already.
        threading.Thread(target=_drain, args=(line,), name="serial-drain", daemon=True).start()
        return line


def _drain(line: socket.socket) -> None:
    with line, contextlib.suppress(OSError):
        while line.recv(_PIECE):
            pass


@contextlib.contextmanager
def _near(folder: Path) -> Iterator[str]:
    """A short name of ``folder``: addresses of Unix sockets end at 107 bytes, folders need not."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
