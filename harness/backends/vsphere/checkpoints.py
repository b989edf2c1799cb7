"""Checkpoints: snapshots of the machine, by our names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.backends.model import PowerState
from harness.backends.protocol import WrongState
from harness.backends.views import ResourceKind
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.power import TOOLS, Power
from harness.backends.vsphere.refs import Ref, ref_of
from harness.core import Deadline

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
TREE = "snapshot.rootSnapshotList"
LAYOUT, CONSOLIDATE = "layoutEx", "runtime.consolidationNeeded"
_DELTA = re.compile(r"-\d{6}\.vmdk$")  # a delta's descriptor; its extents have names of their own
RUNNING, SAVED, OFF = PowerState.RUNNING, PowerState.SAVED, PowerState.OFF


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot of a machine.

    Args:
        name: as it was asked for; the host would allow two of one name, we do not.
        ref: what it is to the host.
        number: counts up in the machine's life: the order they were taken in.
        memory: whether the machine ran then, and will after a revert.
    """

    name: str
    ref: Ref
    number: tuple[Any, int]
    memory: bool


def snapshots_in(tree: Any) -> list[Snapshot]:
    """What a machine's tree of snapshots holds, oldest first."""

    def walk(nodes: Any) -> Iterator[Snapshot]:
        for node in nodes or ():
            number = (node.createTime, int(node.id))
            yield Snapshot(str(node.name), ref_of(node.snapshot), number, node.state == "poweredOn")
            yield from walk(node.childSnapshotList)

    return sorted(walk(tree), key=lambda one: one.number)


def snapshot_files(layout: Any, *, unmerged: bool) -> tuple[str, ...]:
    """What of a machine's ``layoutEx`` is there for snapshots (vSphere API, VirtualMachineFileLayoutEx).

    Args:
        layout: its files, and the snapshots that the host keeps data for.
        unmerged: whether the host says that delta disks wait for consolidation: those are no longer in the list.
    """
    if layout is None:
        return ()
    deltas = sorted(str(one.name) for one in layout.file or () if _DELTA.search(str(one.name)))
    data = sorted(f"data of {ref_of(one.key).id}" for one in layout.snapshot or ())
    return (*deltas, *data, *(["delta disks that wait for consolidation"] if unmerged else []))


class Checkpoints(Power):
    """The verbs of :class:`Checkpointed` and :class:`Quiescing`."""

    def checkpoint(self, name: str, deadline: Deadline, *, memory: bool) -> None:
        """With memory, the machine goes on afterwards. The guest is not asked to be quiet: that needs its tools."""
        with self._lock:
            self._fit(name, deadline, RUNNING if memory else OFF)
            self._take(name, deadline, memory=memory, quiesced=False)

    def quiesced_checkpoint(self, name: str, deadline: Deadline) -> None:
        """The host would take one of a guest without tools as well, and say nothing: so it is asked for them first."""
        with self._lock:
            self._host.ledger.check()
            if self._fit(name, deadline, RUNNING).get(TOOLS) != "guestToolsRunning":
                self._await_tools("checkpoint", deadline)
            self._take(name, deadline, memory=False, quiesced=True)

    def _fit(self, name: str, deadline: Deadline, state: PowerState) -> Values:
        """What was read of the machine, if a checkpoint of this name can be taken of it."""
        if not _NAME.fullmatch(name):
            raise self._refused(f"{name!r} cannot be a checkpoint's name: letters, digits, - _ .", "checkpoint")
        _, values = self._look("checkpoint", deadline, (state,), TREE, TOOLS)
        if name in {one.name for one in snapshots_in(values.get(TREE))}:
            raise self._refused(f"a checkpoint {name!r} is there already", "checkpoint")
        return values

    def _take(self, name: str, deadline: Deadline, *, memory: bool, quiesced: bool) -> None:
        self._host.ledger.check()
        handle = f"{self.id}/{name}"
        with self._host.ledger.creating(ResourceKind.CHECKPOINT, handle) as creation:
            self._task("checkpoint", "CreateSnapshot_Task", deadline, name, "", memory, quiesced)
            creation.made(handle)

    def revert(self, name: str, deadline: Deadline) -> None:
        """Whatever the machine does now is over. One without memory leaves it off."""
        with self._lock:
            found = self._snapshots("revert", deadline).get(name)
            if found is None:
                raise WrongState(f"there is no checkpoint {name!r}", host=self._host.name, operation="revert")
            self._hear()
            # On the ESXi it was placed on, and with power: the snapshot's own state comes back whole.
            self._task("revert", "RevertToSnapshot_Task", deadline, self._host.place.host, False, ref=found.ref)

    def checkpoints(self, deadline: Deadline) -> tuple[str, ...]:
        """The names present, oldest first."""
        return tuple(self._snapshots("checkpoints", deadline))

    def drop_checkpoint(self, name: str, deadline: Deadline) -> None:
        """Later ones stay; the machine is not disturbed."""
        with self._lock:
            found = self._snapshots("drop", deadline).get(name)
            if found is not None:
                self._task("drop", "RemoveSnapshot_Task", deadline, False, True, ref=found.ref)
                self._host.ledger.gone(ResourceKind.CHECKPOINT, f"{self.id}/{name}")

    def checkpoint_files(self, deadline: Deadline) -> tuple[str, ...]:
        """Of the files that the host counts as the machine's, delta disks and what snapshots consist of."""
        values = self._read("checkpoint_files", deadline, LAYOUT, CONSOLIDATE)
        return snapshot_files(values.get(LAYOUT), unmerged=bool(values.get(CONSOLIDATE)))

    def _snapshots(self, operation: str, deadline: Deadline) -> dict[str, Snapshot]:
        tree = self._read(operation, deadline, TREE).get(TREE)
        return {one.name: one for one in snapshots_in(tree)}
