"""One agent on the host: requests go in as lines, answers come back as lines, and what got lost is noticed.

An agent belongs to one thread: sealed NTLM belongs to one connection, and several threads on one Protocol of pywinrm
spoil each other's (measured). :class:`Agents` has one for each thread that asks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from harness import agent
from harness.backends.hyperv.errors import Broken, Ended, Failure, Lost, translated
from harness.backends.hyperv.steps import Row, Step, request
from harness.core import Deadline, LabError

_MARK = agent.MARK.encode("ascii") + b" "
_LONGEST = 64 << 20
"""More than that on one line is no answer: the agent stops at 8 MiB of text, at worst six bytes a character."""
_WORDS = 2000


class Pipe(Protocol):
    """An agent's standard input and output, wherever it runs."""

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Hand over bytes.

        Raises:
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
        self._number = 0
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
            return [list(rows) for rows in answer["results"]]
        failure = _failure(answer)
        step = steps[failure.step] if 0 <= failure.step < len(steps) else None
        raise translated(failure, step, self._host, operation)

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
                self._send(pipe, line, deadline)
                sent = True
                return self._await(pipe, self._number, line, operation, deadline)
            except Ended as error:
                self._drop()
                if last or (sent and not repeatable):
                    kind = Lost if sent else LabError
                    done = "; it is not known whether this was done: " + ", ".join(step.call for step in steps)
                    raise kind(
                        error.message + (done if sent else ""), host=self._host, operation=operation, hint=error.hint
                    ) from error
        raise AssertionError("unreachable")

    def _ready(self, operation: str, deadline: Deadline) -> Pipe:
        if self._pipe is None:
            self._rest.clear()
            self._noise = b""
            self._pipe = self._start(deadline)
            try:
                self._pipe.write(agent.first_line(), deadline)
                said = self._await(self._pipe, 0, b"", operation, deadline)
            except (Broken, Ended) as error:
                self._drop()
                raise LabError(
                    f"the agent did not start: {error.message}", host=self._host, operation=operation, hint=error.hint
                ) from error
            if said.get("ok") is not True:
                self._drop()
                raise translated(_failure(said), None, self._host, operation)
            self.engine = str(said.get("engine", ""))
        return self._pipe

    def _send(self, pipe: Pipe, line: bytes, deadline: Deadline) -> None:
        try:
            pipe.write(line, deadline)
        except Broken:
            pipe.reconnect(deadline)
            # A blank line first: half of the request may have got there. The agent skips it, or says that it is none.
            pipe.write(b"\n" + line, deadline)

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
                healed = True
                pipe.reconnect(deadline)
                self._rest.clear()
                pipe.write(b"\n" + line, deadline)
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
    """One agent for each thread.

    Args:
        start: as for :class:`Agent`.
        host: the lab's name of the host.
    """

    def __init__(self, start: Callable[[Deadline], Pipe], host: str) -> None:
        self._start = start
        self._host = host
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._all: list[tuple[threading.Thread, Agent]] = []

    def run(
        self, operation: str, steps: Sequence[Step], deadline: Deadline, *, repeatable: bool = False
    ) -> list[list[Row]]:
        """As :meth:`Agent.run`, by the calling thread's agent."""
        return self.mine().run(operation, steps, deadline, repeatable=repeatable)

    def mine(self) -> Agent:
        """The calling thread's agent."""
        found: Agent | None = getattr(self._mine, "agent", None)
        if found is None:
            found = self._mine.agent = Agent(self._start, self._host)
            with self._lock:
                left = [(thread, one) for thread, one in self._all if not thread.is_alive()]
                self._all = [pair for pair in self._all if pair not in left]
                self._all.append((threading.current_thread(), found))
            for _, one in left:
                one.close()  # its thread will not ask again, and an account has 30 shells
        return found

    @property
    def trips(self) -> int:
        """Requests that were answered, by all agents that are left."""
        with self._lock:
            return sum(one.trips for _, one in self._all)

    def close(self) -> None:
        """End them all."""
        with self._lock:
            agents, self._all = [one for _, one in self._all], []
        self._mine = threading.local()
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
