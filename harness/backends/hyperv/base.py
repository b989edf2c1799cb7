"""What all concerns of a machine stand on: its id, its state, and how its host is asked about it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.marks import Mark
from harness.backends.hyperv.steps import Ref, Row, Step
from harness.backends.model import MachineSpec, PowerState
from harness.backends.protocol import Refused, WrongState
from harness.core import Deadline, LabError, Pending, wait_for

VM = Ref("vm")
OK = "ok"
STUCK = "a machine that does not leave a state is freed by ending its vmwp.exe on the host, or by a reboot of it"
"""What to do about one that neither starts nor stops."""
BEFORE = 2
"""How many steps go before those of a verb in its request: the machine, and whether it is in a state that is wanted."""
_TOGETHER = 5.0
"""Seconds that an agent waits with the driver, before the driver looks again by itself."""
_ANSWER_SECONDS = 10.0
RUNNING, PAUSED, SAVED, OFF = PowerState.RUNNING, PowerState.PAUSED, PowerState.SAVED, PowerState.OFF

_SETTLED = {"Running": RUNNING, "Paused": PAUSED, "Saved": SAVED, "FastSaved": SAVED, "Off": OFF}
_CRITICAL = "Critical"  # the same state, with the machine's storage gone


class MachineBase:
    """One virtual machine, known by its id: names are not unique, and take wildcards."""

    def __init__(self, host: HostAccess, identity: str, mark: Mark) -> None:
        self._host = host
        self._id = identity
        self._mark = mark
        self._lock = threading.RLock()  # verbs of one machine follow each other

    @property
    def id(self) -> str:
        """The GUID."""
        return self._id

    @property
    def spec(self) -> MachineSpec:
        """What was asked for when it was created."""
        return self._mark.spec

    def _vm(self, *get: str) -> Step:
        return Step("Get-VM", {"Id": self._id}, name=VM.name, get=("State", *get))

    def _ask(self, verb: str, deadline: Deadline, *steps: Step) -> list[list[Row]]:
        """Read: the machine first, as ``vm``, then what else is asked."""
        return self._host.run(verb, [self._vm(), *steps], answered(deadline), repeatable=True)

    def _act(
        self,
        verb: str,
        deadline: Deadline,
        states: Sequence[PowerState],
        *steps: Step,
        repeatable: bool = False,
    ) -> tuple[PowerState, list[list[Row]]]:
        """Do steps, if the machine is in one of ``states``: looked up and done in one request.

        Returns:
            The state before, and what the steps returned.

        Raises:
            WrongState: it is in another state; nothing was done.
            LabError: it does not leave a state between two others.
        """
        self._host.ledger.check()
        asked = [
            self._vm(),
            state_is(OK, *states),
            *(step if step.when else step.only(OK) for step in steps),
        ]

        def attempt() -> tuple[PowerState, list[list[Row]]] | Pending:
            answer = self._host.run(verb, asked, answered(deadline), repeatable=repeatable)
            state = state_of(answer[0])
            return Pending(f"it is {answer[0][0]['State']}") if state is None else (state, answer[BEFORE:])

        seen, answer = wait_for(
            f"{self.spec.name} to settle", attempt, deadline, every=0.5, fault=lambda text: self._stuck(text, verb)
        )
        if seen not in states:
            wanted = " or ".join(one.value for one in states)
            raise WrongState(
                f"{self.spec.name} is {seen.value}, and only a machine that is {wanted} can do this",
                host=self._host.name,
                operation=verb,
            )
        return seen, answer

    def _becomes(self, deadline: Deadline, *states: PowerState, when: str | None = OK) -> Step:
        """The last step of a verb after which the host goes on by itself; what it found is for :meth:`_await`."""
        step = Step("Get-VM", {"Id": self._id}, get=("State",), where=(("State", _words(states)),))
        return replace(step, within=together(deadline), when=when)

    def _await(self, verb: str, deadline: Deadline, seen: Sequence[Row], *states: PowerState) -> None:
        """Wait until the host itself says one of ``states``.

        Args:
            verb: for messages.
            deadline: when to give up.
            seen: what the step of :meth:`_becomes` found in the verb's own request: mostly, that is enough.
            states: those that end the wait.

        Raises:
            LabError: it stays between two states.
        """
        if seen:
            return

        def look() -> bool | Pending:
            row, found = self._ask(verb, deadline, self._becomes(deadline, *states, when=None))
            return True if found else Pending(f"it is {row[0]['State']}")

        wanted = " or ".join(one.value for one in states)
        wait_for(
            f"{self.spec.name} to be {wanted}", look, deadline, every=0.5, fault=lambda text: self._stuck(text, verb)
        )

    def _file(self, name: str) -> str:
        return self._host.file(self._mark.folder, name)

    def _refused(self, message: str, verb: str, hint: str | None = None) -> Refused:
        return Refused(message, host=self._host.name, operation=verb, hint=hint)

    def _stuck(self, message: str, verb: str) -> LabError:
        return LabError(message, host=self._host.name, operation=verb, hint=STUCK)


def state_is(name: str, *states: PowerState, of: str = VM.name) -> Step:
    """The machine again, under another name, if it is in one of these states: later steps hang on that name."""
    return Step("Write-Output", {"InputObject": Ref(of)}, name=name, where=(("State", _words(states)),))


def answered(deadline: Deadline) -> Deadline:
    """For a request of a verb: an agent that is late is ended, with the consoles that it pumps and what it is doing.

    So whoever waits, and has no time left, still hears what the host says, and tells that instead of its silence.
    """
    return deadline if deadline.seconds > _ANSWER_SECONDS else Deadline.after(_ANSWER_SECONDS, deadline.clock)


def together(deadline: Deadline) -> int:
    """For how many seconds an agent may wait by itself: it must still have answered when the time is over."""
    return int(min(_TOGETHER, deadline.seconds / 2))


def _words(states: Sequence[PowerState]) -> str:
    words = [word for word, state in _SETTLED.items() if state in states]
    return f"^({'|'.join(words)})({_CRITICAL})?$"


def state_of(rows: Sequence[Row]) -> PowerState | None:
    """The state the host tells; None while it is between two."""
    return _SETTLED.get(str(rows[0]["State"]).removesuffix(_CRITICAL)) if rows else None
