"""What all concerns of a machine stand on: its reference, its state, its host."""

from __future__ import annotations

import threading
from typing import Any

from pyVmomi import vim

from harness.backends.model import MachineSpec, PowerState
from harness.backends.protocol import Refused, WrongState
from harness.backends.vsphere import collector, devices, questions, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.devices import DEVICES
from harness.backends.vsphere.marks import Mark
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.wires import Wire
from harness.core import Deadline, LabError

_LOOK_SECONDS = 30.0
STATE = ("runtime.powerState", "runtime.connectionState")

_STATES = {"poweredOn": PowerState.RUNNING, "poweredOff": PowerState.OFF, "suspended": PowerState.SAVED}


class MachineBase:
    """One virtual machine, known by its reference: a name may change, and another may come to have it."""

    def __init__(self, host: HostAccess, ref: Ref, mark: Mark) -> None:
        self._host = host
        self._ref = ref
        self._spec = mark.spec
        self._files = mark.files
        self._lock = threading.RLock()  # verbs of one machine follow each other
        self._listens: int | None = None

    @property
    def id(self) -> str:
        """The managed object's id (``vm-42``)."""
        return self._ref.id

    @property
    def spec(self) -> MachineSpec:
        """What was asked for when it was created."""
        return self._spec

    def _read(self, operation: str, deadline: Deadline, *paths: str) -> Values:
        return collector.read_one(self._host.session, self._ref, *paths, deadline=deadline, operation=operation)

    def _task(
        self,
        operation: str,
        method: str,
        deadline: Deadline,
        *arguments: Any,
        ref: Ref | None = None,
        ending: bool = False,
    ) -> Any:
        """Run a task of the machine (or of one of its snapshots); the run's lease is checked first.

        A question that the machine asks is answered; ``ending`` as of :func:`~.questions.answer`.
        """
        self._host.ledger.check()
        return tasks.run(
            self._host.session,
            operation,
            ref or self._ref,
            method,
            deadline,
            *arguments,
            machine=self._ref,
            question=questions.answering(self._host.session, self._ref, operation, deadline, ending=ending),
            patient=True,
        )

    def _call(self, operation: str, method: str, deadline: Deadline, *arguments: Any) -> Any:
        """Call a method that is no task; the run's lease is checked first."""
        self._host.ledger.check()
        return self._host.session.call(operation, self._ref, method, deadline, *arguments)

    def _reconfigure(self, operation: str, deadline: Deadline, **config: Any) -> None:
        self._task(operation, "ReconfigVM_Task", deadline, vim.vm.ConfigSpec(**config))

    def _state(self, operation: str, deadline: Deadline) -> PowerState:
        return self._known(self._read(operation, deadline, *STATE), operation)

    def _require(self, verb: str, deadline: Deadline, *states: PowerState) -> PowerState:
        """The present state, if it is one of ``states``.

        Raises:
            WrongState: it is another.
        """
        return self._look(verb, deadline, states)[0]

    def _look(
        self, verb: str, deadline: Deadline, states: tuple[PowerState, ...], *paths: str
    ) -> tuple[PowerState, Values]:
        """As :meth:`_require`, with further properties of the same moment."""
        values = self._read(verb, deadline, *STATE, *paths)
        state = self._known(values, verb)
        if state not in states:
            wanted = " or ".join(one.value for one in states)
            raise WrongState(
                f"{self._spec.name} is {state.value}, and only a machine that is {wanted} can do this",
                host=self._host.name,
                operation=verb,
            )
        return state, values

    def _known(self, values: Values, operation: str) -> PowerState:
        """The state, unless the host does not know it itself."""
        connection = values.get("runtime.connectionState", "connected")
        if connection != "connected":
            raise LabError(
                f"the host calls {self._spec.name} {connection}",
                host=self._host.name,
                operation=operation,
                hint="is the ESXi up and its datastore there? Then look at the machine in the inventory",
            )
        return state_of(values)

    def _hear(self, *, fresh: bool = False) -> Wire | None:
        """The wire to the machine's serial port, heard from now on; None where that is a file.

        Args:
            fresh: the machine is about to be powered on.
        """
        if self._host.wires is None:
            return None
        if self._listens is None:
            found = self._read("console", Deadline.after(_LOOK_SECONDS), DEVICES).get(DEVICES) or ()
            self._listens = devices.listens(found) or 0
        return self._host.wires.follow(self.id, self._listens, fresh=fresh) if self._listens else None

    def _refused(self, message: str, verb: str, hint: str | None = None) -> Refused:
        return Refused(message, host=self._host.name, operation=verb, hint=hint)


def state_of(values: Values) -> PowerState:
    """The power state in what was read by :data:`STATE`."""
    return _STATES[str(values["runtime.powerState"])]
