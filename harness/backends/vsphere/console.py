"""The serial console: a file on the datastore that the host writes from power-on, read by range."""

from __future__ import annotations

from harness.backends.protocol import Refused
from harness.backends.vsphere.access import HostAccess
from harness.core import Deadline

LOG = "serial.log"
_SECONDS = 30.0


class FileConsole:
    """As :class:`~harness.backends.protocol.Console`, output alone: what is typed into a file reaches nobody.

    Args:
        host: whose datastore.
        path: the file on it.
        name: the machine's name, for messages.
    """

    def __init__(self, host: HostAccess, path: str, name: str) -> None:
        self._host = host
        self._path = path
        self._name = name

    def read(self, offset: int, limit: int) -> bytes:
        """The bytes that the host wrote since power-on; each power-on begins the file anew."""
        return self._host.store.read(self._path, offset, limit, Deadline.after(_SECONDS))

    def write(self, data: bytes) -> None:
        """Raises :class:`Refused`: CONSOLE_INPUT is not declared."""
        raise Refused(
            f"the serial port of {self._name} is a file: {len(data)} bytes cannot be typed into it",
            host=self._host.name,
            operation="console",
        )
