"""Snapshots, and the suspended state, which is one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.core import Deadline
from harness.twins.engine import devices
from harness.twins.engine.base import SUSPENDED, MachineBase, Snapshot
from harness.twins.engine.layers import Layer, drop_tag
from harness.twins.engine.running import Running
from harness.twins.engine.values import EngineError, MachineState, SnapshotView

_FREEZE_SECONDS = 60.0  # what was written since the last sync goes to the disk first


class Snapshots(MachineBase):
    """The verbs that keep a moment."""

    def suspend(self) -> None:
        """Put its memory on disk and end its process."""
        with self._lock:
            running = self._live("suspend")
            self._save(running, SUSPENDED)
            self._finish()
            self._state = MachineState.SUSPENDED

    def _resume_suspended(self) -> None:
        """Continue in a new process; if that fails, it is suspended still."""
        running = self._launch(self._shape, tag=SUSPENDED)
        running.job("snapshot-delete", tag=SUSPENDED, devices=self._nodes(running))
        self._begin(running)

    def _forget_suspended(self) -> None:
        for disk in self._every_disk(self.hardware):
            self._host.layers.drop(self._host.layers.mark(disk, SUSPENDED))
        drop_tag(self._state_file, SUSPENDED)
        self._state = MachineState.OFF

    def snapshot(self, name: str, *, memory: bool, quiesced: bool = False) -> None:
        """Remember it. With ``memory`` it must run (or be paused); without, disks alone, in any state but suspended.

        ``quiesced``, of one that runs: the guest's service freezes its file systems meanwhile.
        """
        with self._lock:
            if name in self._snapshots:
                raise EngineError(f"{self.hardware.name} has a snapshot {name!r} already", operation="snapshot")
            self._tags += 1
            tag = f"moment{self._tags}"
            if memory:
                running = self._live("snapshot")
                self._save(running, tag)
                layers = {disk.path: self._host.layers.mark(disk, tag) for disk in self._every_disk(self.hardware)}
            elif quiesced:
                self._require("snapshot", MachineState.RUNNING)
                with self._live("snapshot").tools.frozen(Deadline.after(_FREEZE_SECONDS)):
                    layers = self._frozen()
            else:
                self._require("snapshot", MachineState.OFF, MachineState.RUNNING, MachineState.PAUSED)
                layers = self._frozen()
            self._snapshots[name] = Snapshot(name, memory, tag, self._shape, layers)

    def revert(self, name: str) -> None:
        """Be again what it was: hardware, disks, and memory if it was kept; else it is off afterwards.

        In a process of its own: without KVM, the time stamp counter of one that runs never goes back (``cpu_get_ticks``
        in QEMU's ``softmmu/cpu-timers.c``), and a guest's clock would not show that it was reverted.
        """
        with self._lock:
            moment = self._known(name)
            if self._state is MachineState.SUSPENDED:
                self._forget_suspended()
            self._finish()
            disks = {disk.path: disk for disk in self._every_disk(moment.shape.hardware)}
            layers = {path: self._host.layers.revert(disks[path], layer) for path, layer in moment.layers.items()}
            self._snapshots[name] = moment = replace(moment, layers=layers)
            self._shape = moment.shape if moment.memory else replace(moment.shape, modules=())
            self._host.layers.sweep()
            if moment.memory:
                self._begin(self._launch(moment.shape, tag=moment.tag))

    def delete_snapshot(self, name: str) -> None:
        """Forget it. :class:`EngineError` if unknown."""
        with self._lock:
            moment = self._known(name)
            del self._snapshots[name]
            if moment.memory:
                self._delete_tag(moment)
            self._host.layers.sweep()

    def rename_snapshot(self, name: str, new: str) -> None:
        """Give it another name."""
        with self._lock:
            moment = self._known(name)
            if new in self._snapshots:
                raise EngineError(f"{self.hardware.name} has a snapshot {new!r} already", operation="snapshot")
            self._snapshots = {
                new if known == name else known: replace(each, name=new) if each is moment else each
                for known, each in self._snapshots.items()
            }

    def snapshots(self) -> tuple[SnapshotView, ...]:
        """All, oldest first."""
        with self._lock:
            return tuple(SnapshotView(each.name, each.memory, each.shape.hardware) for each in self._snapshots.values())

    def content(self, disk: Path, snapshot: str | None = None) -> Path:
        """A file that holds what :attr:`Disk.path` held at ``snapshot`` and never changes: fit as a clone's backing."""
        with self._lock:
            if snapshot is not None:
                moment = self._known(snapshot)
                if disk not in moment.layers:
                    raise EngineError(f"{disk} was no disk of {self.hardware.name} then", operation="content")
                return self._host.layers.content(moment.layers[disk])
            self._require("content", MachineState.OFF)
            for each in self.hardware.disks:
                if each.path == disk:
                    return self._host.layers.content(self._host.layers.freeze(each))
            raise EngineError(f"{disk} is no disk of {self.hardware.name}", operation="content")

    @property
    def _state_file(self) -> Path:
        return self._place.folder / "state.qcow2"

    def _known(self, name: str) -> Snapshot:
        try:
            return self._snapshots[name]
        except KeyError:
            known = ", ".join(self._snapshots) or "none"
            raise EngineError(f"{self.hardware.name} has no snapshot {name!r}; it has {known}") from None

    def _save(self, running: Running, tag: str) -> None:
        running.job("snapshot-save", tag=tag, vmstate=devices.VMSTATE, devices=self._nodes(running))

    def _frozen(self) -> dict[Path, Layer]:
        """What every disk holds now; what is written from now on goes to new files."""
        disks = self._every_disk(self.hardware)
        layers = self._host.layers
        if self._running is None:
            return {disk.path: layers.freeze(disk) for disk in disks}
        running = self._live("snapshot")
        overlays = {disk: layers.prepare(disk) for disk in disks}
        actions = []
        for disk, overlay in overlays.items():
            name = devices.node_id(overlay)
            running.command("blockdev-add", devices.block(overlay) | {"node-name": name, "backing": None})
            data = {"node": running.nodes[disk.path], "overlay": name}
            actions.append({"type": "blockdev-snapshot", "data": data})
        running.ask("transaction", actions=actions)
        for disk, overlay in overlays.items():
            running.nodes[disk.path] = devices.node_id(overlay)
        return {disk.path: layers.switch(disk, overlay) for disk, overlay in overlays.items()}

    def _delete_tag(self, moment: Snapshot) -> None:
        """Free its space; what lies in a file that others stand on goes when that file goes."""
        if self._running is not None:
            now = self._host.layers
            nodes = [devices.VMSTATE]
            nodes += [
                self._running.nodes[path]
                for path, layer in moment.layers.items()
                if path in self._running.nodes and now.current(path) == layer.file
            ]
            self._running.job("snapshot-delete", tag=moment.tag, devices=nodes)
            return
        for layer in moment.layers.values():
            self._host.layers.drop(layer)
        drop_tag(self._state_file, moment.tag)
