"""A machine: all its concerns together, and its end."""

from __future__ import annotations

import contextlib

from harness.backends.protocol import WrongState
from harness.backends.views import ResourceKind
from harness.backends.vsphere import collector, questions, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.base import STATE, state_of
from harness.backends.vsphere.checkpoints import TREE, Checkpoints, snapshots_in
from harness.backends.vsphere.errors import Gone
from harness.backends.vsphere.evidence import Evidence
from harness.backends.vsphere.power import OFF
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.sizes import Sizes
from harness.backends.vsphere.tools import Tools
from harness.core import Deadline


class VsphereMachine(Evidence, Checkpoints, Sizes, Tools):
    """A virtual machine of ours."""

    def destroy(self, deadline: Deadline) -> None:
        """With its disks and snapshots, then its other files: a half-done removal still has its mark."""
        with self._lock:
            self._host.ledger.check()
            erase(self._host, self._ref, self._files, deadline)


def erase(host: HostAccess, machine: Ref, files: str | None, deadline: Deadline) -> None:
    """Take a machine of ours away, whatever its state, with everything that belongs to it. Idempotent.

    Args:
        host: where.
        machine: it; the caller has made sure that it carries our mark.
        files: its folder on the datastore; None when its mark does not tell.
        deadline: when to give up.
    """
    with contextlib.suppress(Gone):
        values = collector.read_one(
            host.session, machine, *STATE, "parent", TREE, deadline=deadline, operation="destroy"
        )
        answering = questions.answering(host.session, machine, "destroy", deadline, ending=True)

        def run(method: str) -> None:
            tasks.run(
                host.session, "destroy", machine, method, deadline, machine=machine, question=answering, patient=True
            )

        if state_of(values) is not OFF:
            with contextlib.suppress(WrongState):  # it went off by itself just now
                run("PowerOffVM_Task")
        run("Destroy_Task")
        for snapshot in snapshots_in(values.get(TREE)):
            host.ledger.gone(ResourceKind.CHECKPOINT, f"{machine.id}/{snapshot.name}")
        host.folders.leave(host.session, host.place.folder, values.get("parent"), deadline)
    if files:
        host.store.delete(files, deadline)
    if host.wires is not None:
        host.wires.forget(machine.id)
    host.ledger.gone(ResourceKind.MACHINE, machine.id)
