"""The agent that the image runs on its second serial port: QEMU's guest agent protocol (``qga/qapi-schema.json``)."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.core import Deadline
from harness.twins.engine.values import EngineError, GuestSilent
from harness.twins.engine.wire import connected

_SENTINEL = b"\xff"
_LARGEST = 1 << 20  # the guest is not trusted to stop
_PATIENCE = 3.0  # seconds for an agent to greet; what it is asked then may take longer
_AGAIN = 3.0  # seconds before a greeting that nobody answered is said again
# Seconds for one answer: an agent that was stopped after its greeting never gives it, however long its asker has.
_ANSWER = 20.0
_AS_LONG_AS_IT_TAKES = {"guest-fsfreeze-freeze", "guest-fsfreeze-thaw"}  # they wait for the guest's disks
# The shutdown that was asked for has ended shutdown(8), with the agent's service, before it could say that it began
# (``ga_wait_child`` in qga/commands-posix.c).
_ENDED_BY_IT = "child process has terminated abnormally"


class AgentRefused(EngineError):
    """The agent understood and said no."""


class Agent:
    """Speaks to the agent of one QEMU process; connected from the first question to :meth:`close`, and never again.

    The next process of the same machine listens at the same path: who still asked the one before would take its line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._line: socket.socket | None = None
        self._held = b""
        self._marks = itertools.count(1)
        self._greeted: tuple[int, Deadline] | None = None
        self._over = False

    def ask(self, command: str, deadline: Deadline, /, **arguments: Any) -> Any:
        """The ``return`` value of a command.

        Raises:
            GuestSilent: nobody answers, or no more.
            AgentRefused: the agent said no.
        """
        return self.ask_all([(command, arguments)], deadline)[0]

    def ask_all(self, questions: list[tuple[str, dict[str, Any]]], deadline: Deadline) -> list[Any]:
        """The answers of several commands after one greeting; one that was refused answers as AgentRefused."""
        with self._lock:
            self._greet(deadline)
            answers = []
            for command, arguments in questions:
                self._say({"execute": command, "arguments": _named(arguments)}, deadline)
                answer = self._hear(deadline if command in _AS_LONG_AS_IT_TAKES else deadline.sooner(_ANSWER))
                if "return" in answer:
                    answers.append(answer["return"])
                elif len(questions) == 1:
                    raise AgentRefused(_told(answer), operation=command)
                else:
                    answers.append(AgentRefused(_told(answer), operation=command))
            return answers

    def tell(self, command: str, deadline: Deadline, /, **arguments: Any) -> None:
        """Give a command that has no answer when it succeeds (``guest-shutdown``)."""
        with self._lock:
            self._greet(deadline)
            self._say({"execute": command, "arguments": _named(arguments)}, deadline)
            # A refusal comes at once; the end of the guest, and so of the line, is success as well.
            with contextlib.suppress(GuestSilent):
                answer = self._hear(deadline.sooner(0.5))
                if "error" in answer and _ENDED_BY_IT not in _told(answer):
                    raise AgentRefused(_told(answer), operation=command)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Around questions between which nobody else may ask one."""
        with self._lock:
            yield

    def read(self, path: str, deadline: Deadline) -> bytes | None:
        """A small file of the guest; None when it has no such file."""
        try:
            handle = self.ask("guest-file-open", deadline, path=path, mode="r")
        except AgentRefused:
            return None
        try:
            piece = self.ask("guest-file-read", deadline, handle=handle, count=4096)
        finally:
            self.ask("guest-file-close", deadline, handle=handle)
        return base64.b64decode(str(piece["buf-b64"]))

    def close(self) -> None:
        """Hang up for good."""
        with self._lock:
            self._over = True
            self._hang_up()

    def _greet(self, deadline: Deadline) -> None:
        """Make sure that an agent listens, and that its next answer is to our next question.

        While the guest boots, nobody reads; what is said then waits and would be answered later. So a greeting alone
        is said, and seldom; a command follows only after its answer.
        """
        deadline = deadline.sooner(_PATIENCE)
        if self._greeted is None or self._greeted[1].expired:
            mark = next(self._marks)
            self._send(_SENTINEL, deadline)
            self._say({"execute": "guest-sync-delimited", "arguments": {"id": mark}}, deadline)
            self._greeted = mark, Deadline.after(_AGAIN)
        while not _is(self._hear(deadline).get("return"), self._greeted[0]):
            pass  # answers to earlier greetings, and complaints about what was cut off
        self._greeted = None

    def _say(self, question: dict[str, Any], deadline: Deadline) -> None:
        self._send(json.dumps(question).encode() + b"\n", deadline)

    def _send(self, data: bytes, deadline: Deadline) -> None:
        if self._over:
            raise GuestSilent("the machine has ended, and its agent with it", operation="agent")
        if self._line is None:
            self._line = connected(self._path, 5.0)
            self._held = b""
        try:
            self._line.settimeout(max(deadline.seconds, 0.01))
            self._line.sendall(data)
        except OSError as error:
            self._hang_up()
            raise GuestSilent(f"nobody reads the second serial port: {error}", operation="agent") from error

    def _hear(self, deadline: Deadline) -> dict[str, Any]:
        """The next line that is an object."""
        while True:
            line, found, rest = self._held.partition(b"\n")
            if not found:
                self._receive(deadline)
                continue
            self._held = rest
            if deadline.expired:  # whoever says one thing after the other is never waited for
                self._hang_up()
                raise GuestSilent("the second serial port says much, and no answer", operation="agent")
            with contextlib.suppress(ValueError, RecursionError):
                answer = json.loads(line.rpartition(_SENTINEL)[2])
                if isinstance(answer, dict):
                    return answer

    def _receive(self, deadline: Deadline) -> None:
        if self._line is None or len(self._held) > _LARGEST:
            self._hang_up()
            raise GuestSilent("the second serial port says what no agent would say", operation="agent")
        try:
            self._line.settimeout(max(deadline.seconds, 0.01))
            data = self._line.recv(65536)
        except TimeoutError as error:
            raise GuestSilent("no agent answers on the second serial port", operation="agent") from error
        except OSError as error:
            self._hang_up()
            raise GuestSilent(f"the second serial port is gone: {error}", operation="agent") from error
        if not data:
            self._hang_up()
            raise GuestSilent("the second serial port is gone", operation="agent")
        self._held += data

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line, self._greeted, self._held = None, None, b""


def _is(said: Any, mark: int) -> bool:
    """Whether that number was said, and not ``true``, which Python takes for 1."""
    return type(said) is int and said == mark


def _named(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in arguments.items()}


def _told(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    return str(error.get("desc", error) if isinstance(error, dict) else answer)[:500]
