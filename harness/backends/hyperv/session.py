"""One agent on the host: requests go in as lines, answers come back as lines, and what got lost is noticed.

An agent answers one thread at a time: sealed NTLM belongs to one connection, and threads that use one Protocol of
pywinrm at the same time spoil each other's messages (measured). :class:`Agents` has as many as are needed at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from harness import agent
from harness.backends.hyperv.errors import Broken, Ended, Failure, Lost, StepFailed, Unreachable, translated
from harness.backends.hyperv.steps import Row, Step, request
from harness.core import Deadline, LabError, Pending, wait_for

_MARK = agent.MARK.encode("ascii") + b" "
_LONGEST = 64 << 20
"""More than that on one line is no answer: the agent stops at 8 MiB of text, at worst six bytes a character."""
_WORDS = 2000
_AWAY_SECONDS = 300.0
"""For how long a host may be away in the middle of a request: it may be rebooting."""
_PUMP = "Start-InteropConsole"
_PUMPS = (_PUMP, "Stop-InteropConsole")


class Pipe(Protocol):
    """An agent's standard input and output, wherever it runs."""

    greeting: bytes
    """What it must read before requests: its own source, unless it lies on the host."""

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Hand over bytes.

        Raises:
            Unreachable: there is no connection; ``data`` was not sent to its end, so that its last line was not done.
            Broken: the connection broke; :meth:`reconnect` may find the agent again.
            Ended: there is no agent any more; nothing of ``data`` was done.
        """

    def read(self, deadline: Deadline) -> bytes:
        """What came since the last time; empty where nothing came for a while.

        Raises:
            Broken: as for :meth:`write`.
            Ended: the agent is gone; says its exit code and last words.
        """

    def reconnect(self, deadline: Deadline) -> None:
        """Reach the same agent by a new connection.

        Raises:
            LabError: that is not possible either.
        """

    def close(self) -> None:
        """End the agent, whatever it is doing. Never raises for a host that is not there."""


class Agent:
    """One agent, started when it is first asked.

    Args:
        start: starts one and returns its pipe.
        host: the lab's name of the host, for messages.
    """

    def __init__(self, start: Callable[[Deadline], Pipe], host: str) -> None:
        self._start = start
        self._host = host
        self._lock = threading.Lock()
        self._pipe: Pipe | None = None
        self._rest = bytearray()
        self._noise = b""
        self._torn = False
        self._number = 0
        self._pumps: dict[str, Step] = {}
        self.engine = ""
        self.trips = 0
        """Requests that were answered: what a verb costs."""

    def run(
        self, operation: str, steps: Sequence[Step], deadline: Deadline, *, repeatable: bool = False
    ) -> list[list[Row]]:
        """Have steps done, all in one request; what each returned, in their order.

        Args:
            operation: the verb, for messages.
            steps: what to do; the first that fails ends the request.
            deadline: when the answer must be there. An agent that is late is ended, with what it is doing.
            repeatable: doing the steps twice is as good as once: they are, if the agent is lost in between.

        Raises:
            InteropError: a step failed; see :func:`harness.backends.hyperv.errors.translated`.
            Lost: nobody knows whether the steps were done.
            LabError: the host cannot be reached, or did not answer in time.
        """
        with self._lock:
            answer = self._ask(operation, steps, deadline, repeatable=repeatable)
            self.trips += 1
        if answer.get("ok") is True:
            self._remember(steps)
            return [list(rows) for rows in answer["results"]]
        failure = _failure(answer)
        step = steps[failure.step] if 0 <= failure.step < len(steps) else None
        raise translated(failure, step, self._host, operation) from StepFailed(failure)

    def close(self) -> None:
        """End it. The next request would start another."""
        with self._lock:
            self._drop()

    def _ask(self, operation: str, steps: Sequence[Step], deadline: Deadline, *, repeatable: bool) -> dict[str, Any]:
        self._number += 1
        line = request(self._number, steps)
        for last in (False, True):
            pipe = self._ready(operation, deadline)
            sent = False
            try:
                try:
                    self._write(pipe, line, deadline)
                except Unreachable:
                    # Nothing is in doubt, so whoever asked hears it at once, and may try elsewhere. In the middle of a
                    # request a host is waited for: the agent there alone knows what was done.
                    raise
                except Broken:
                    sent = True  # for all that is known
                    self._again(pipe, line, deadline)
                sent = True
                return self._await(pipe, self._number, line, operation, deadline)
            except LabError as error:
                if isinstance(error, Ended):
                    self._drop()
                    if not last and (repeatable or not sent):
                        continue
                if sent and not repeatable:
                    raise self._lost(error, operation, steps) from error
                if isinstance(error, Ended):
                    raise LabError(error.message, host=self._host, operation=operation, hint=error.hint) from error
                raise
        raise AssertionError("unreachable")

    def _lost(self, error: LabError, operation: str, steps: Sequence[Step]) -> Lost:
        calls = ", ".join(step.call for step in steps)
        return Lost(
            f"{error.message}; it is not known whether this was done: {calls}",
            host=self._host,
            operation=operation,
            hint=error.hint,
        )

    def _ready(self, operation: str, deadline: Deadline) -> Pipe:
        if self._pipe is None:
            self._rest.clear()
            self._noise = b""
            self._torn = False
            self._pipe = self._start(deadline)
            try:
                self._pipe.write(self._pipe.greeting, deadline)
                said = self._await(self._pipe, 0, b"", operation, deadline)
            except (Broken, Ended) as error:
                self._drop()
                raise LabError(
                    f"the agent did not start: {error.message}", host=self._host, operation=operation, hint=error.hint
                ) from error
            if said.get("ok") is not True:
                self._drop()
                raise translated(_failure(said), None, self._host, operation)
            if said.get("script") not in (None, agent.script_digest()):
                self._drop()
                raise LabError(
                    f"the agent installed there is another than this harness's: its SHA-256 is {said['script']}",
                    host=self._host,
                    operation=operation,
                    hint=f"sign and install what `python -m harness.agent` prints, {agent.script_digest()}"
                    " (docs/hyperv-host.md)",
                )
            self.engine = str(said.get("engine", ""))
            self._resume(self._pipe, deadline)
        return self._pipe

    def _remember(self, steps: Sequence[Step]) -> None:
        """Which consoles are pumped inside of the agent."""
        for step in steps:
            if step.call in _PUMPS:
                path = str(step.args["Path"])
                self._pumps.pop(path, None)
                if step.call == _PUMP:
                    self._pumps[path] = Step(_PUMP, {"Pipe": step.args["Pipe"], "Path": path})

    def _resume(self, pipe: Pipe, deadline: Deadline) -> None:
        """Pump on where an agent before this one was ended, unless another took over or the machine is gone."""
        for number, step in enumerate(self._pumps.values(), 2):  # -1 answers what is no request
            line = request(-number, [step])
            try:
                pipe.write(line, deadline)
                self._await(pipe, -number, line, "console", deadline)
            except (Broken, Ended):
                self._drop()
                raise

    def _write(self, pipe: Pipe, line: bytes, deadline: Deadline) -> None:
        """A request. A blank line before it ends what is left of one that was cut off: the agent skips it, or says
        that it is none.
        """
        line = b"\n" + line if self._torn else line
        self._torn = True
        pipe.write(line, deadline)
        self._torn = False

    def _again(self, pipe: Pipe, line: bytes, deadline: Deadline) -> None:
        """Ask once more by another connection, as soon as the host lets us: the agent does nothing twice.

        Raises:
            Broken: the host did not come back in time.
            Ended: it came back without the agent.
        """
        hints: list[str | None] = [None]

        def attempt() -> bool | Pending:
            try:
                pipe.reconnect(deadline)
                self._write(pipe, line, deadline)
            except Broken as error:
                hints.append(error.hint)
                return Pending(error.message)
            return True

        self._rest.clear()
        wait_for(
            "the host to come back",
            attempt,
            deadline.sooner(_AWAY_SECONDS),
            every=1,
            fault=lambda text: Broken(text, host=self._host, operation="connect", hint=hints[-1]),
        )

    def _await(self, pipe: Pipe, number: int, line: bytes, operation: str, deadline: Deadline) -> dict[str, Any]:
        """Read until the answer is there. Where the connection breaks, ask again: the agent does nothing twice."""
        healed = False
        while True:
            found = self._answer(number)
            if found is not None:
                return found
            if deadline.expired:
                self._drop()
                raise LabError(
                    "the host did not answer in time" + self._last_words(), host=self._host, operation=operation
                )
            try:
                self._rest += pipe.read(deadline)
            except Broken:
                if healed or not line:
                    raise
                healed = self._torn = True
                self._again(pipe, line, deadline)
            if len(self._rest) > _LONGEST:
                raise Ended("it speaks without end", host=self._host)

    def _answer(self, number: int) -> dict[str, Any] | None:
        """The answer with this number, if it is among what was read."""
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end]).rstrip(b"\r")
            del self._rest[: end + 1]
            words = line.split(b" ", 2)
            if line.startswith(_MARK) and len(words) == 3 and words[1] == str(number).encode():
                try:
                    said = json.loads(words[2])
                except ValueError as error:
                    raise Ended(f"it answered with something that is no JSON: {error}", host=self._host) from error
                if isinstance(said, dict):
                    return said
            self._noise = (self._noise + line + b"\n")[-_WORDS:]
        return None

    def _last_words(self) -> str:
        text = self._noise.decode("utf-8", "replace").strip()
        return f"; it said: {text}" if text else ""

    def _drop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


class Agents:
    """As many agents as there are requests at the same time; each is one thread's while it answers.

    They stay until the end, for consoles are pumped inside of them.

    Args:
        start: as for :class:`Agent`.
        host: the lab's name of the host.
        most: requests at the same time; more wait. An account has 30 shells, and a run has several workers.
    """

    def __init__(self, start: Callable[[Deadline], Pipe], host: str, most: int = 6) -> None:
        self._start = start
        self._host = host
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(most)
        self._idle: list[Agent] = []
        self._all: list[Agent] = []

    def run(
        self, operation: str, steps: Sequence[Step], deadline: Deadline, *, repeatable: bool = False
    ) -> list[list[Row]]:
        """As :meth:`Agent.run`, by an agent that is free."""
        if not self._room.acquire(timeout=deadline.seconds):
            raise LabError("all agents were busy all the time", host=self._host, operation=operation)
        try:
            with self._lock:
                if self._idle:
                    one = self._idle.pop()
                else:
                    one = Agent(self._start, self._host)
                    self._all.append(one)
            try:
                return one.run(operation, steps, deadline, repeatable=repeatable)
            finally:
                with self._lock:
                    self._idle.append(one)
        finally:
            self._room.release()

    @property
    def engine(self) -> str:
        """The version of PowerShell that answers; empty before the first answer."""
        with self._lock:
            return next((one.engine for one in self._all if one.engine), "")

    @property
    def trips(self) -> int:
        """Requests that were answered, by all agents."""
        with self._lock:
            return sum(one.trips for one in self._all)

    def close(self) -> None:
        """End them all."""
        with self._lock:
            agents, self._all, self._idle = self._all, [], []
        for one in agents:
            one.close()


def _failure(said: dict[str, Any]) -> Failure:
    return Failure(
        step=int(said.get("step", -1)),
        id=str(said.get("id") or ""),
        category=str(said.get("category") or ""),
        hresult=int(said.get("hresult") or 0) & 0xFFFFFFFF,
        message=str(said.get("message") or ""),
    )
