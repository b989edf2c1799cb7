"""Checkpoints: libvirt's internal snapshots, and saved states where libvirt refuses those."""

from __future__ import annotations

import re
from typing import Any

import libvirt

from harness.backends.kvm.power import Power
from harness.backends.kvm.states import SavedStates, qcow2_snapshots, sources
from harness.backends.kvm.xml import node, number, parse, text
from harness.backends.model import Firmware, PowerState
from harness.backends.protocol import WrongState
from harness.backends.views import ResourceKind
from harness.core import Deadline

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
RUNNING, PAUSED, SAVED, OFF = PowerState.RUNNING, PowerState.PAUSED, PowerState.SAVED, PowerState.OFF


class Checkpoints(Power):
    """The verbs of :class:`Checkpointed`.

    An internal snapshot keeps memory inside the qcow2 overlay and takes some tenths of a second. libvirt refuses it
    with UEFI, and QEMU cannot load one with vCPUs that were hot added; then memory is saved to a file, and disks are
    snapshotted while the machine is off for a moment.
    """

    def checkpoint(self, name: str, deadline: Deadline, *, memory: bool) -> None:
        """With memory, the machine goes on afterwards as it was."""
        with self._lock:
            state = self._fit(name, deadline, *((RUNNING, PAUSED) if memory else (OFF,)))
            if memory:
                self._refuse_foreign_nics("checkpoint", deadline)
            with self._host.ledger.creating(ResourceKind.CHECKPOINT, f"{self._uuid}/{name}") as creation:
                if self._needs_saved_state(state, deadline):
                    self._save_state(name, state, deadline)
                else:
                    self._snapshot(name, memory, deadline)
                creation.made(f"{self._uuid}/{name}")

    def revert(self, name: str, deadline: Deadline) -> None:
        """Whatever the machine does now is over; a memory checkpoint's console begins anew at 0."""
        with self._lock:
            if name not in self.checkpoints(deadline):
                raise WrongState(f"there is no checkpoint {name!r}", host=self._host.name, operation="revert")
            self._host.ledger.check()
            if self._state(deadline) is SAVED:
                self._ask("revert", lambda domain: domain.managedSaveRemove(0), deadline)
            self._begin_console()
            if name in self._states.names():
                self._load_state(name, deadline)
            else:
                self._act("revert", lambda domain: _revert(domain, name), deadline)
                self._wire(deadline)  # only now its NICs are those of the checkpoint, in the VLANs of then
                if self._state(deadline) is RUNNING:
                    self._connect(deadline)
            self._sweep(deadline)

    def checkpoints(self, deadline: Deadline) -> tuple[str, ...]:
        """The names present, oldest first."""
        times = dict(self._ask("checkpoints", _snapshots, deadline))
        times |= self._states.names()
        return tuple(sorted(times, key=lambda name: times[name]))

    def drop_checkpoint(self, name: str, deadline: Deadline) -> None:
        """Memory and disk state go; the machine is not disturbed."""
        with self._lock:
            if name not in self.checkpoints(deadline):
                return
            self._host.ledger.check()
            if name in self._states.names():
                active = self._state(deadline) not in (OFF, SAVED)
                if active:
                    self._forget_in_disks(name, deadline)
                self._states.drop(name, deadline, disks=not active)
            else:
                self._act("drop", lambda domain: domain.snapshotLookupByName(name, 0).delete(0), deadline)
            self._host.ledger.gone(ResourceKind.CHECKPOINT, f"{self._uuid}/{name}")
            self._sweep(deadline)

    def checkpoint_files(self, deadline: Deadline) -> tuple[str, ...]:
        """Snapshots inside its disks, as QEMU or ``qemu-img`` tells them, and the folders of saved states."""
        with self._lock:
            found = [str(folder) for folder in self._states.folders()]
            if self._state(deadline) in (OFF, SAVED):
                if self._host.places.states(self._uuid) is None:
                    raise self._refused("the files of a machine that is off are out of reach", "checkpoint_files")
                names = qcow2_snapshots(self._xml(deadline, inactive=True), self._host.name, deadline)
            else:
                names = query_snapshots(self._qcow2(deadline))
            return (*found, *names)

    def _qcow2(self, deadline: Deadline) -> list[dict[str, Any]]:
        """The disks that hold what the guest writes, as QEMU's ``query-block`` has them."""
        media = [block["inserted"] for block in self._monitor("query-block", deadline) if "inserted" in block]
        return [medium for medium in media if medium["drv"] == "qcow2" and not medium["ro"]]

    def _forget_in_disks(self, name: str, deadline: Deadline) -> None:
        """Disk by disk: ``delvm`` refuses where a machine has UEFI variables in a file of another format."""
        for disk in self._qcow2(deadline):
            if any(one["name"] == name for one in disk["image"].get("snapshots", ())):
                forget = "blockdev-snapshot-delete-internal-sync"
                self._monitor(forget, deadline, device=disk["node-name"], name=name)

    def _fit(self, name: str, deadline: Deadline, *states: PowerState) -> PowerState:
        """The present state, if a checkpoint of this name can be taken in it."""
        if not _NAME.fullmatch(name):
            raise self._refused(f"{name!r} cannot be a checkpoint's name: letters, digits, - _ .", "checkpoint")
        state = self._require("checkpoint", deadline, *states)
        if name in self.checkpoints(deadline):
            raise self._refused(f"a checkpoint {name!r} is there already", "checkpoint")
        return state

    def _sweep(self, deadline: Deadline) -> None:
        """Delete data disks that neither the machine nor a checkpoint of it has."""
        wanted = {*sources(self._xml(deadline)), *sources(self._xml(deadline, inactive=True)), *self._states.sources()}
        wanted.update(self._ask("disks", _snapshot_sources, deadline))
        for path in self._host.places.disks(self._uuid, deadline):
            if path not in wanted:
                self._host.places.delete_disk(self._uuid, path, deadline)

    @property
    def _states(self) -> SavedStates:
        return SavedStates(self._host.places.states(self._uuid), self._host.name)

    def _needs_saved_state(self, state: PowerState, deadline: Deadline) -> bool:
        if self._host.places.states(self._uuid) is None:
            if self._spec.shape.firmware is Firmware.UEFI:
                raise self._refused(
                    "libvirt makes no internal snapshots with UEFI, and files are out of reach", "checkpoint"
                )
            return False
        if self._spec.shape.firmware is Firmware.UEFI:
            return True
        return state is not OFF and bool(self._xml(deadline).findall("vcpus/vcpu[@enabled='yes'][@hotpluggable='yes']"))

    def _snapshot(self, name: str, memory: bool, deadline: Deadline) -> None:
        description = node("domainsnapshot", None, node("name", name))
        if memory:
            description.append(node("memory", snapshot="internal"))
        self._act("checkpoint", lambda domain: domain.snapshotCreateXML(text(description), 0), deadline)

    def _save_state(self, name: str, state: PowerState, deadline: Deadline) -> None:
        domain = self._xml(deadline, inactive=True)
        with self._states.taking(name, domain, deadline) as memory:
            if state is OFF:
                return
            self._act("checkpoint", lambda found: found.saveFlags(str(memory), None, _SAVE_AS[state]), deadline)
        self._resume_state(name, state, deadline)

    def _load_state(self, name: str, deadline: Deadline) -> None:
        if self._state(deadline) is not OFF:
            self.stop(deadline)
        domain = self._states.apply(name, deadline)
        self._host.connection.call("revert", lambda connection: connection.defineXML(text(domain)), deadline)
        if self._states.has_memory(name):
            self._resume_state(name, RUNNING, deadline)

    def _resume_state(self, name: str, state: PowerState, deadline: Deadline) -> None:
        self._wire(deadline)
        memory, flags = str(self._states.memory(name)), _SAVE_AS[state]
        self._host.connection.call("resume", lambda connection: connection.restoreFlags(memory, None, flags), deadline)
        self._connect(deadline)


_SAVE_AS = {RUNNING: libvirt.VIR_DOMAIN_SAVE_RUNNING, PAUSED: libvirt.VIR_DOMAIN_SAVE_PAUSED}


def query_snapshots(media: list[dict[str, Any]]) -> list[str]:
    """Those inside disks as QEMU has them open (qapi/block-core.json: BlockDeviceInfo, ImageInfo)."""
    images = [medium["image"] for medium in media]
    return [f"{image['filename']}: {one['name']}" for image in images for one in image.get("snapshots", ())]


def _snapshots(domain: Any) -> list[tuple[str, float]]:
    found = domain.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL)
    return [(one.getName(), float(number(parse(one.getXMLDesc(0)), "creationTime"))) for one in found]


def _snapshot_sources(domain: Any) -> list[str]:
    return [path for one in domain.listAllSnapshots() for path in sources(parse(one.getXMLDesc(0)))]


def _revert(domain: Any, name: str) -> None:
    snapshot = domain.snapshotLookupByName(name, 0)
    with_memory = parse(snapshot.getXMLDesc(0)).findtext("state") in {"running", "paused"}
    running = libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING if with_memory else 0
    domain.revertToSnapshot(snapshot, running | libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)
