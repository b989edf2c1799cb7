"""Power: on, off, reset, pause, save, and asking the guest through its shutdown service."""

from __future__ import annotations

from collections.abc import Callable

from harness.backends.hyperv.access import QUIET
from harness.backends.hyperv.base import OFF, PAUSED, RUNNING, SAVED, VM, MachineBase, state_is
from harness.backends.hyperv.steps import Ref, Step, Typed, Value
from harness.backends.protocol import GuestIgnored
from harness.core import Deadline, Pending, wait_for

NAMESPACE = "root\\virtualization\\v2"
LOG = "console.log"
_READY_SECONDS = 30.0
"""How long a guest that has just booted may take until it answers to its shutdown service."""
_COMPLETED, _JOB = 0, 4096
_RESET = 11  # RequestedState of CIM_EnabledLogicalElement, as Msvm_ComputerSystem has it


class Power(MachineBase):
    """The verbs of :class:`Machine`, :class:`Pausable`, :class:`Savable` and :class:`ShutdownRequest`."""

    def start(self, deadline: Deadline) -> None:
        """The console's pump first: what a pipe says to nobody is lost."""
        with self._lock:
            self._act(
                "start",
                deadline,
                (OFF, SAVED),
                state_is("cold", OFF),
                self._pump(fresh=True).only("cold"),
                state_is("kept", SAVED),
                self._pump().only("kept"),
                Step("Start-VM", {"VM": VM, **QUIET}),
            )

    def stop(self, deadline: Deadline) -> None:
        """``-TurnOff`` for what runs; a saved state is thrown away."""
        with self._lock:
            _, answer = self._act(
                "stop",
                deadline,
                (RUNNING, PAUSED, SAVED, OFF),
                *switched_off(),
                self._becomes(deadline, OFF),
                repeatable=True,
            )
            self._await("stop", deadline, answer[-1], OFF)

    def reset(self, deadline: Deadline) -> None:
        """By WMI: ``Restart-VM -VM`` has two parameter sets that only ``-Wait``, for a heartbeat, tells apart."""
        system: dict[str, Value] = {
            "Namespace": NAMESPACE,
            "ClassName": "Msvm_ComputerSystem",
            "Filter": f"Name='{self._id.upper()}'",
        }
        asked: dict[str, Value] = {
            "InputObject": Ref("system"),
            "MethodName": "RequestStateChange",
            "Arguments": {"RequestedState": Typed("uint16", _RESET)},
        }
        with self._lock:
            _, answer = self._act(
                "reset",
                deadline,
                (RUNNING,),
                Step("Get-CimInstance", system, name="system"),
                Step("Invoke-CimMethod", asked, get=("ReturnValue",)),
                self._becomes(deadline, RUNNING),
            )
            code = int(answer[1][0]["ReturnValue"])
            if code not in (_COMPLETED, _JOB):
                raise self._refused(f"the host answered {code} to a reset", "reset")
            self._await("reset", deadline, answer[-1], RUNNING)

    def pause(self, deadline: Deadline) -> None:
        """``Suspend-VM``."""
        with self._lock:
            self._act("pause", deadline, (RUNNING,), Step("Suspend-VM", {"VM": VM, **QUIET}))

    def resume(self, deadline: Deadline) -> None:
        """``Resume-VM``."""
        with self._lock:
            self._act("resume", deadline, (PAUSED,), Step("Resume-VM", {"VM": VM, **QUIET}))

    def save(self, deadline: Deadline) -> None:
        """``Save-VM``."""
        with self._lock:
            self._act("save", deadline, (RUNNING, PAUSED), Step("Save-VM", {"VM": VM, **QUIET}))

    def restore(self, deadline: Deadline) -> None:
        """``Start-VM`` on what is saved."""
        with self._lock:
            self._act("restore", deadline, (SAVED,), self._pump(), Step("Start-VM", {"VM": VM, **QUIET}))

    def shutdown(self, deadline: Deadline) -> None:
        """By the shutdown service: ``Stop-VM`` would cut the power after five minutes, and call that success."""
        with self._lock:
            self._ask_guest("shutdown", "InitiateShutdown", deadline)

            def look() -> bool | Pending:
                rows, off = self._ask("shutdown", deadline, self._becomes(deadline, OFF, when=None))
                return True if off else Pending(f"it is {rows[0]['State']}")

            wait_for(f"{self.spec.name} to be off", look, deadline, every=0.5, fault=self._ignored("shutdown"))

    def reboot(self, deadline: Deadline) -> None:
        """By the shutdown service."""
        with self._lock:
            self._ask_guest("reboot", "InitiateReboot", deadline)

    def _ask_guest(self, verb: str, method: str, deadline: Deadline) -> None:
        """Once; but the service refuses while a guest boots, and then is asked again for a moment."""
        component: dict[str, Value] = {
            "Namespace": NAMESPACE,
            "ClassName": "Msvm_ShutdownComponent",
            "Filter": f"SystemName='{self._id.upper()}'",
        }
        asked: dict[str, Value] = {
            "InputObject": Ref("service"),
            "MethodName": method,
            "Arguments": {"Force": False, "Reason": "interop"},
        }

        def attempt() -> bool | Pending:
            _, answer = self._act(
                verb,
                deadline,
                (RUNNING,),
                Step("Get-CimInstance", component, name="service", get=("EnabledState?",)),
                Step("Invoke-CimMethod", asked, get=("ReturnValue",), when="service"),
            )
            if not answer[0]:
                return Pending("the host shows no shutdown service of it")
            code = int(answer[1][0]["ReturnValue"])
            return True if code in (_COMPLETED, _JOB) else Pending(f"its shutdown service answered {code}")

        wait_for(
            f"{self.spec.name} to take a request",
            attempt,
            deadline.sooner(_READY_SECONDS),
            every=1,
            fault=self._ignored(verb),
        )

    def _ignored(self, verb: str) -> Callable[[str], GuestIgnored]:
        return lambda message: GuestIgnored(message, host=self._host.name, operation=verb)

    def _pump(self, *, fresh: bool = False) -> Step:
        return Step("Start-InteropConsole", {"Pipe": self._mark.pipe, "Path": self._file(LOG), "Fresh": fresh})


def switched_off() -> list[Step]:
    """Cut the power, whatever state the step ``vm`` found."""
    return [
        state_is("on", RUNNING, PAUSED),
        Step("Stop-VM", {"VM": Ref("on"), "TurnOff": True, "Force": True, **QUIET}, when="on"),
        state_is("kept", SAVED),
        Step("Remove-VMSavedState", {"VM": Ref("kept"), **QUIET}, when="kept"),
    ]
