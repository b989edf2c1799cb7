"""Time synchronisation: what a guest's ``hv_utils`` makes of its host's messages, over the image's agent.

A host demands that the clock be set (ICTIMESYNCFLAG_SYNC) in the first message after the guest was restored or resumed,
and after the service was switched on. What it tells every few seconds besides only feeds the guest's PTP clock, which
the twin has not got (Linux, ``drivers/hv/hv_util.c``). At boot the driver mostly comes too late for that message.
"""

from __future__ import annotations

import threading
from typing import Final

from harness.core import Deadline, Pending, wait_for
from harness.twins.engine import EngineError
from harness.twins.hyperv.emulated.machines import Vm

TIMESYNC: Final = "2497F4DE-E9FA-4204-80E4-4B75C46419C0"
_PATIENCE = 60.0  # seconds for the agent of a guest that goes on


def demand(vm: Vm) -> None:
    """Have the guest set its clock soon, if the service is on; its host does not wait for that."""
    if vm.machine is not None and vm.config.services[TIMESYNC]:
        threading.Thread(target=_set, args=(vm,), name=f"timesync {vm.name}", daemon=True).start()


def _set(vm: Vm) -> None:
    def over() -> bool | Pending:
        machine = vm.machine
        if machine is None or vm.state != "Running" or not vm.config.services[TIMESYNC]:
            return True
        try:
            machine.guest_set_clock(back=True)
        except EngineError as error:
            return Pending(error.message)
        return True

    try:
        wait_for("the guest to set its clock", over, Deadline.after(_PATIENCE), every=1, fault=EngineError)
    except EngineError:
        return  # a guest without the driver goes by its own clock, and its host does not mind
