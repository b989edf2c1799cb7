"""What may go wrong with a twin, said to it: for tests of clients, and of what a report makes of a sick host.

The address is ``control`` in what the twin says when it is up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.twins.vsphere.sockets import post


@dataclass(frozen=True, slots=True)
class CallFault:
    """A method that fails.

    Args:
        method: as in the protocol: ``PowerOnVM_Task``.
        fault: a type of the API: ``ResourceInUse``; empty: it only takes longer.
        name: of the object; empty: any.
        count: how many times.
        delay: milliseconds before.
    """

    method: str
    fault: str = ""
    name: str = ""
    count: int = 1
    delay: int = 0

    def body(self) -> dict[str, Any]:
        """For the wire."""
        return {part: getattr(self, part) for part in ("method", "fault", "name", "count", "delay")}


@dataclass(frozen=True, slots=True)
class Plan:
    """All that shall go wrong from now on; the empty one lets everything go well.

    Args:
        latency: milliseconds added to every request.
        status: HTTP requests are answered with this status.
        cut: or their connection is closed unanswered; of uploads, after ``after`` bytes if given.
        path: only requests whose path begins so (``/sdk``, ``/nfc``, ``/folder``).
        after: see ``cut``.
        count: how many HTTP requests.
        free: bytes that the datastore has left; None: what there really is.
        deny: privileges that the account lacks.
        lease_seconds: an import of which nothing is heard ends after this time; 0: the twin's usual.
        calls: methods that fail.
        questions: names of machines that ask something in their next task of the method ``asking_in``.
        out_of_space: names of machines that find no room then, and ask whether to try again.
        asking_in: as in the protocol: ``PowerOnVM_Task``, ``ReconfigVM_Task``, ``Destroy_Task``, or ``CloneVM_Task``
            of the machine that is cloned.
    """

    latency: int = 0
    status: int = 0
    cut: bool = False
    path: str = ""
    after: int = 0
    count: int = 0
    free: int | None = None
    deny: Sequence[str] = ()
    lease_seconds: int = 0
    calls: Sequence[CallFault] = ()
    questions: Sequence[str] = ()
    out_of_space: Sequence[str] = ()
    asking_in: str = "PowerOnVM_Task"

    def body(self) -> dict[str, Any]:
        """For the wire."""
        plain = ("latency", "status", "cut", "path", "after", "count", "free", "lease_seconds", "asking_in")
        lists = {part: list(getattr(self, part)) for part in ("deny", "questions", "out_of_space")}
        return {**{part: getattr(self, part) for part in plain}, **lists, "calls": [call.body() for call in self.calls]}


class Control:
    """A running twin, as tests play with it.

    Args:
        record: what it said when it came up.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._socket = Path(record["control"])

    def plan(self, plan: Plan | None = None) -> None:
        """Let this go wrong from now on, and nothing else; without a plan: nothing.

        Raises:
            LabError: the twin does not answer.
        """
        post(self._socket, "/plan", (plan or Plan()).body())

    def event(self, machine: str, kind: str, host: str = "") -> None:
        """Have the cluster, or the machine, do something on its own.

        Args:
            machine: its name.
            kind: ``VmMigratedEvent``, ``DrsVmMigratedEvent`` or ``VmDasBeingResetEvent``; ``outOfSpace``: the machine
                finds no room for its disk while it runs, and asks whether to try again.
            host: where the machine is from now on.

        Raises:
            LabError: there is no such machine or event.
        """
        post(self._socket, "/event", {"name": machine, "kind": kind, "host": host})
