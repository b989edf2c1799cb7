"""Power: on, off, reset, suspend, and asking the guest through its tools."""

from __future__ import annotations

from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored, WrongState
from harness.backends.vsphere import collector
from harness.backends.vsphere.base import STATE, MachineBase, state_of
from harness.core import Deadline, Pending

RUNNING, SAVED, OFF = PowerState.RUNNING, PowerState.SAVED, PowerState.OFF

TOOLS = "guest.toolsRunningStatus"
_TOOLS_SECONDS = 20.0
"""How long a guest that has just booted may take until its tools tell the host that they run."""


class Power(MachineBase):
    """The verbs of :class:`Machine`, :class:`Savable` and :class:`ShutdownRequest`. Suspending is to disk: no pause."""

    def start(self, deadline: Deadline) -> None:
        """Boot; a suspended machine continues."""
        with self._lock:
            self._hear(fresh=self._require("start", deadline, OFF, SAVED) is OFF)
            self._power_on("start", deadline)

    def stop(self, deadline: Deadline) -> None:
        """Cut the power; what was suspended is discarded."""
        with self._lock:
            if self._state("stop", deadline) is not OFF:
                self._off(deadline)

    def reset(self, deadline: Deadline) -> None:
        """Press the reset button."""
        with self._lock:
            self._require("reset", deadline, RUNNING)
            self._task("reset", "ResetVM_Task", deadline)

    def save(self, deadline: Deadline) -> None:
        """Suspend."""
        with self._lock:
            self._require("save", deadline, RUNNING)
            self._task("save", "SuspendVM_Task", deadline)

    def restore(self, deadline: Deadline) -> None:
        """Power on what is suspended."""
        with self._lock:
            self._require("restore", deadline, SAVED)
            self._hear()
            self._power_on("restore", deadline)

    def shutdown(self, deadline: Deadline) -> None:
        """By the guest's tools, for vSphere has no power button to press; once."""
        with self._lock:
            self._require("shutdown", deadline, RUNNING)
            self._ask_guest("shutdown", "ShutdownGuest", deadline)
            collector.wait_one(
                self._host.session,
                f"{self._spec.name} to be off",
                self._ref,
                STATE,
                lambda values: True if (seen := state_of(values)) is OFF else Pending(f"it is {seen.value}"),
                deadline=deadline,
                operation="shutdown",
                fault=lambda message: GuestIgnored(message, host=self._host.name, operation="shutdown"),
            )

    def reboot(self, deadline: Deadline) -> None:
        """By the guest's tools."""
        with self._lock:
            self._require("reboot", deadline, RUNNING)
            self._ask_guest("reboot", "RebootGuest", deadline)

    def standby(self, deadline: Deadline) -> None:
        """Ask the guest, by its tools, to suspend itself; returns when the request was accepted."""
        with self._lock:
            self._require("standby", deadline, RUNNING)
            self._ask_guest("standby", "StandbyGuest", deadline)

    def _power_on(self, verb: str, deadline: Deadline) -> None:
        """On the ESXi it was placed on, also where a cluster would rather have it elsewhere."""
        self._task(verb, "PowerOnVM_Task", deadline, self._host.place.host)

    def _off(self, deadline: Deadline) -> None:
        """A machine that is held by a question may go off by the answer to it, before the task comes to it."""
        try:
            self._task("stop", "PowerOffVM_Task", deadline, ending=True)
        except WrongState:
            self._require("stop", deadline, OFF)

    def _ask_guest(self, verb: str, method: str, deadline: Deadline) -> None:
        """Ask; where the host says that no tools run, see whether they come, and ask once more."""
        try:
            self._call(verb, method, deadline)
        except GuestIgnored:
            self._await_tools(verb, deadline)
            self._call(verb, method, deadline)

    def _await_tools(self, verb: str, deadline: Deadline) -> None:
        """Raises :class:`GuestIgnored` when the host does not see them run in time."""
        collector.wait_one(
            self._host.session,
            f"the tools of {self._spec.name} to run",
            self._ref,
            [TOOLS],
            lambda values: True if values.get(TOOLS) == "guestToolsRunning" else Pending(str(values.get(TOOLS))),
            deadline=deadline.sooner(_TOOLS_SECONDS),
            operation=verb,
            fault=lambda message: GuestIgnored(message, host=self._host.name, operation=verb),
        )
