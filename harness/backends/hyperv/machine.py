"""A machine: all its concerns together, and its end."""

from __future__ import annotations

from harness.backends.hyperv.access import NO_FILE, QUIET, HostAccess
from harness.backends.hyperv.base import STUCK, VM, answered
from harness.backends.hyperv.checkpoints import Checkpoints
from harness.backends.hyperv.errors import Busy
from harness.backends.hyperv.evidence import Evidence
from harness.backends.hyperv.marks import Mark
from harness.backends.hyperv.nics import NicPlugs
from harness.backends.hyperv.power import LOG, switched_off
from harness.backends.hyperv.services import Services
from harness.backends.hyperv.sizes import Sizes
from harness.backends.hyperv.steps import Step, exactly
from harness.backends.model import Firmware
from harness.backends.protocol import WrongState
from harness.backends.views import ResourceKind
from harness.core import Deadline, LabError, Pending, wait_for


class HypervMachine(Checkpoints, Evidence, Services, Sizes):
    """A virtual machine of ours."""

    def destroy(self, deadline: Deadline) -> None:
        """With its files; idempotent."""
        with self._lock:
            self._host.ledger.check()
            erase(self._host, self._id, self._mark.folder, deadline)
            self._host.ledger.gone(ResourceKind.MACHINE, self._id)  # and, with it, its checkpoints


class SecondGeneration(HypervMachine, NicPlugs):
    """One that boots by UEFI and takes NICs while it runs."""


def machine(host: HostAccess, identity: str, mark: Mark) -> HypervMachine:
    """The machine of this id, with the verbs of its generation."""
    kind = SecondGeneration if mark.spec.shape.firmware is Firmware.UEFI else HypervMachine
    return kind(host, identity, mark)


def erase(host: HostAccess, identity: str | None, folder: str | None, deadline: Deadline) -> None:
    """Switch a machine off and remove it, then its folder: a half-done removal still has its mark.

    Args:
        host: where.
        identity: the machine's id; None: whatever machine has its folder's name.
        folder: its folder's name; None: it has none that is known.
        deadline: when to give up. The host merges disks of checkpoints, and holds them while it does.
    """
    if identity is not None:
        find = host.found(identity, name=VM.name)
    else:
        find = Step("Get-VM", host.everywhere, name=VM.name, where=(("Name", exactly(folder or "")),))
    steps = [
        find,
        *(step if step.when else step.only(VM.name) for step in switched_off()),
        Step("Remove-VM", {"VM": VM, "Force": True, **QUIET}, when=VM.name),
    ]
    if folder is not None:
        path = host.folder(folder)
        steps.append(Step("Stop-InteropConsole", {"Path": host.file(folder, LOG)}))
        steps.append(Step("Remove-Item", {"LiteralPath": path, "Recurse": True, "Force": True}, allow=NO_FILE))

    hints: list[str | None] = [None]

    def attempt() -> bool | Pending:
        try:
            host.agents.run("destroy", steps, answered(deadline), repeatable=True)
        except (Busy, WrongState) as error:  # while it merges disks, it is in no state to be removed
            hints.append(STUCK if isinstance(error, WrongState) else error.hint)
            return Pending(error.message)
        return True

    wait_for(
        "the host to let go of the machine's files",
        attempt,
        deadline,
        every=1,
        fault=lambda text: LabError(text, host=host.name, operation="destroy", hint=hints[-1]),
    )
