"""The serial console: COM1 on a named pipe, pumped into a file on the host by an agent, read by offset."""

from __future__ import annotations

import base64

from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.base import RUNNING, VM, state_is
from harness.backends.hyperv.steps import Step, Value
from harness.core import Deadline

_SECONDS = 30.0
_LARGEST = 1 << 20


class PipeConsole:
    """As :class:`~harness.backends.protocol.Console`. The pump runs in some agent; one that died is replaced here.

    Args:
        host: where.
        machine: the machine's id.
        pipe: the pipe's name.
        path: the file on the host.
    """

    def __init__(self, host: HostAccess, machine: str, pipe: str, path: str) -> None:
        self._host = host
        self._machine = machine
        self._pipe = pipe
        self._path = path

    def read(self, offset: int, limit: int) -> bytes:
        """What the file holds there."""
        args: dict[str, Value] = {"Path": self._path, "Offset": offset, "Limit": min(limit, _LARGEST)}
        steps = [*self._pumped(), Step("Read-InteropConsole", args, get=(".",))]
        rows = self._host.run("console", steps, Deadline.after(_SECONDS), repeatable=True)[-1]
        return base64.b64decode(rows[0]["."]) if rows else b""

    def write(self, data: bytes) -> None:
        """Through a file that the pump looks at every 50 ms, because any agent may write it."""
        steps = [*self._pumped(), Step("Write-InteropConsole", {"Path": self._path, "Data": data})]
        self._host.run("console", steps, Deadline.after(_SECONDS))

    def _pumped(self) -> list[Step]:
        """See that somebody pumps while the machine runs."""
        return [
            Step("Get-VM", {"Id": self._machine}, name=VM.name),
            state_is("running", RUNNING),
            Step("Start-InteropConsole", {"Pipe": self._pipe, "Path": self._path}, when="running"),
        ]
