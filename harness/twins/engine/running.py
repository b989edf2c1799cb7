"""One QEMU process of a machine, from its start to its end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Deadline
from harness.qemu import QemuError
from harness.qemu.monitor import Event, Monitor, MonitorLost, MonitorRefused
from harness.qemu.process import Child, spawn
from harness.twins.engine.commandline import Shape
from harness.twins.engine.guest_agent import Agent
from harness.twins.engine.personality import Personality
from harness.twins.engine.tools import Tools
from harness.twins.engine.values import EngineError, ExitReason
from harness.twins.engine.wire import Keyboard, listener

_ONE_RESET = 2.0  # a kernel tries several ways to reset, and the firmware may add one: it is one to whoever looks
_LEAVE = 10.0  # seconds for a QEMU that was told to quit


@dataclass(frozen=True, slots=True)
class Place:
    """The files of a process in its machine's folder."""

    folder: Path

    @property
    def log(self) -> Path:
        """What QEMU itself says."""
        return self.folder / "qemu.log"

    @property
    def serial(self) -> Path:
        """The first serial port's socket."""
        return self.folder / "serial"

    @property
    def agent(self) -> Path:
        """The second serial port's socket."""
        return self.folder / "agent"


class Running:
    """A QEMU process.

    Args:
        place: its files.
        shape: what it is made of; kept up to date by whoever changes it.
        personality: of the machine.
        command: makes the command line from the numbers of the inherited sockets.
        seconds: how long it may take to answer.
        rebooted: called when the guest reset itself; must return at once.
        panicked: called when the guest's kernel said that it panicked; must return at once.

    Raises:
        EngineError: it did not start.
    """

    def __init__(
        self,
        place: Place,
        shape: Shape,
        *,
        personality: Personality,
        command: Callable[[tuple[int, int, int]], list[str]],
        seconds: float,
        rebooted: Callable[[], None],
        panicked: Callable[[], None],
    ) -> None:
        self.shape = shape
        self.nodes: dict[Path, str] = {}
        """The block node of each disk, by :attr:`Disk.path`."""
        self.expected = False
        """Whether we end it ourselves."""
        self._place = place
        self._seconds = seconds
        self._rebooted = rebooted
        self._panicked = panicked
        self._reason = ExitReason.CRASHED
        self._quiet = Deadline.after(0)
        self._ending = threading.Lock()
        ours, monitor = socket.socketpair()
        with contextlib.ExitStack() as stack:
            theirs = [stack.enter_context(end) for end in (monitor, listener(place.serial), listener(place.agent))]
            numbers = (theirs[0].fileno(), theirs[1].fileno(), theirs[2].fileno())
            try:
                self.child: Child = spawn(command(numbers), log=place.log, fds=numbers)
            except QemuError as error:
                ours.close()
                raise EngineError(str(error), operation="start") from error
        try:
            self.monitor = Monitor(ours, seconds=seconds, heard=self._heard)
        except MonitorLost as error:
            self.child.kill()
            raise EngineError(f"QEMU did not start: {self.child.said() or error}", operation="start") from error
        self.keyboard = Keyboard(place.serial)
        self.agent = Agent(place.agent)
        self.tools = Tools(self.agent, personality)

    @property
    def reason(self) -> ExitReason:
        """Why it ended, unless we did it."""
        return self._reason

    def ask(self, command: str, /, **arguments: Any) -> Any:
        """Ask the monitor.

        Raises:
            EngineError: QEMU said no, or nothing.
        """
        with self.faults():
            return self.monitor.ask(command, **arguments)

    def command(self, command: str, arguments: dict[str, Any]) -> Any:
        """Ask the monitor, with arguments named as they are."""
        with self.faults():
            return self.monitor.command(command, arguments)

    def job(self, command: str, /, **arguments: Any) -> None:
        """Have a job done, to its end."""
        with self.faults():
            self.monitor.job(command, self._seconds * 5, **arguments)

    @contextlib.contextmanager
    def faults(self) -> Any:
        """QEMU's faults become the engine's."""
        try:
            yield
        except MonitorRefused as error:
            raise EngineError(f"QEMU refuses: {error}") from error
        except MonitorLost as error:
            raise EngineError(f"{error}; its log ends: {self.child.said(300) or 'empty'}") from error

    def end(self) -> None:
        """End it, by asking and by force, and see it gone."""
        with self._ending:
            self.expected = True
            if self.child.running:
                with contextlib.suppress(QemuError):
                    self.monitor.ask("quit", _LEAVE)
            if self.child.wait(_LEAVE) is None:
                self.child.kill()
        self.clean()

    def clean(self) -> None:
        """Close our ends of what it had."""
        self.monitor.close()
        self.keyboard.close()
        self.agent.close()
        for path in (self._place.serial, self._place.agent):
            path.unlink(missing_ok=True)

    def await_end(self) -> None:
        """Returns when it has ended and all it said was heard."""
        self.child.wait()
        self.monitor.await_end(5.0)

    def _heard(self, event: Event) -> None:
        data = event.get("data", {})
        match event["event"]:
            case "SHUTDOWN" if data.get("guest"):
                self._reason = ExitReason.GUEST_SHUTDOWN
            case "RESET":
                self.tools.forget()
                if data.get("guest") and self._quiet.expired:
                    self._quiet = Deadline.after(_ONE_RESET)
                    self._rebooted()
            case "GUEST_PANICKED":
                self._panicked()

    def screenshot(self) -> bytes:
        """A PNG."""
        path = self._place.folder / f"screen.{os.getpid()}.{threading.get_ident()}.png"
        try:
            self.command("screendump", {"filename": str(path), "format": "png"})
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)
