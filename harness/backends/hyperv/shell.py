"""An agent in a shell of WinRM: what is sent in is its standard input, what is received its output."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from winrm.protocol import Protocol

from harness import agent
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.errors import Ended
from harness.backends.hyperv.faults import Timeout
from harness.backends.hyperv.shells import Shells
from harness.backends.hyperv.transport import Wire
from harness.core import Deadline, LabError

T = TypeVar("T")

_CHUNK = 300_000
"""Bytes of input an envelope carries: 400 kB in base64, below the 500 kB that hosts take (MaxEnvelopeSizekb)."""
_OPTIONS: dict[str, Any] = {"codepage": 65001, "idle_timeout": "PT7200S", "noprofile": True}
_BEGIN_SECONDS = 60
_CLOSE_SECONDS = 10.0
_WORDS = 1000


class Shell:
    """As :class:`~harness.backends.hyperv.session.Pipe`.

    Args:
        door: where and as whom.
        deadline: when the agent must have been started; it says itself when it is ready.
        shells: where it is written down, to be ended should this process be killed; None: nowhere.

    Raises:
        LabError: the host cannot be reached, or does not start it.
    """

    def __init__(self, door: Door, deadline: Deadline, shells: Shells | None = None) -> None:
        self._door = door
        self._shells = shells
        self._wire = Wire(door)
        self._errors = b""
        self._shell = str(self._begin("open a shell", deadline, lambda protocol: protocol.open_shell(**_OPTIONS)))
        if shells:
            shells.opened(self._shell)
        self._command = ""
        path = door.settings.agent
        inline = path == "inline"
        self.greeting = agent.first_line() if inline else b""
        arguments = agent.inline() if inline else agent.installed(path)
        try:
            self._command = str(
                self._begin(
                    "start PowerShell",
                    deadline,
                    lambda protocol: protocol.run_command(
                        self._shell, agent.PROGRAM, arguments, console_mode_stdin=False
                    ),
                )
            )
        except LabError:
            self.close()
            raise

    def write(self, data: bytes, deadline: Deadline) -> None:
        """In as many envelopes as it takes. A Send that times out was taken: the host answers when the agent reads."""
        for at in range(0, len(data), _CHUNK):
            part = data[at : at + _CHUNK]
            with contextlib.suppress(Timeout):
                self._wire.call(partial(self._send, part=part), deadline)

    def read(self, deadline: Deadline) -> bytes:
        """One Receive."""
        try:
            out, errors, code, done = self._wire.call(
                lambda protocol: protocol.get_command_output_raw(self._shell, self._command), deadline
            )
        except Timeout:
            return b""
        self._errors = (self._errors + errors)[-_WORDS:]
        if done and not out:
            words = self._errors.decode("utf-8", "replace").strip()
            raise Ended(f"the agent ended with {code}" + (f": {words}" if words else ""), host=self._door.host)
        return bytes(out)

    def reconnect(self, deadline: Deadline) -> None:
        """A new connection for the same shell: it belongs to the account, not to the connection."""
        self._wire.close()

    def close(self) -> None:
        """Delete the shell, and with it its processes. Without it, an account's 30 shells are soon used up."""
        deadline = Deadline.after(_CLOSE_SECONDS)
        try:
            self._wire.call(lambda protocol: protocol.close_shell(self._shell, close_session=False), deadline)
        except Ended:
            pass
        except (LabError, Timeout):
            self._wire.close()
            return  # it may be there: whoever opens the host after this process tries again
        self._wire.close()
        if self._shells:
            self._shells.closed(self._shell)

    def _begin(self, what: str, deadline: Deadline, work: Callable[[Protocol], T]) -> T:
        try:
            return self._wire.call(work, deadline.sooner(_BEGIN_SECONDS), seconds=_BEGIN_SECONDS)
        except Timeout as error:
            raise LabError(
                f"the host did not {what} in time",
                host=self._door.host,
                operation="connect",
                hint="is it overloaded? `Get-Process wsmprovhost, winrshost` on the host shows what WinRM runs; "
                "a shell that it opens all the same ends by itself, when nobody has used it for two hours",
            ) from error

    def _send(self, protocol: Protocol, part: bytes) -> None:
        protocol.send_command_input(self._shell, self._command, part)  # text would be encoded as code page 437


def end(door: Door, shell: str) -> None:
    """Delete a shell that a process of ours left, with what runs in it.

    Raises:
        Ended: it is gone.
        LabError: the host cannot be reached.
    """
    wire = Wire(door)
    try:
        wire.call(lambda protocol: protocol.close_shell(shell, close_session=False), Deadline.after(_CLOSE_SECONDS))
    except Timeout as error:
        raise LabError("the host did not end a shell in time", host=door.host, operation="connect") from error
    finally:
        wire.close()
