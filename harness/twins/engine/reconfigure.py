"""Making a machine something else, while it runs as far as that goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.qemu.monitor import Event
from harness.twins.engine import commandline, devices
from harness.twins.engine.base import MachineBase
from harness.twins.engine.nat import seeded
from harness.twins.engine.running import Running
from harness.twins.engine.values import (
    Disk,
    EngineError,
    GuestSilent,
    Hardware,
    MachineState,
    Nic,
    NotSupported,
    SwitchNetwork,
)

Step = Callable[[], None]

_RELEASE = 30.0  # seconds for a guest to let go of a device
_FIXED = ("uuid", "max_vcpus", "max_memory", "cores_per_socket", "numa_nodes", "uefi", "serial")


class Reconfigure(MachineBase):
    """The verb of that name."""

    def reconfigure(self, hardware: Hardware) -> None:
        """Make it this; see :meth:`EngineMachine.reconfigure`."""
        with self._lock:
            shape = self._shaped(hardware, self._shape)
            if self._state is MachineState.OFF:
                self._shape = replace(shape, modules=())
                for disk in hardware.disks:
                    self._host.layers.know(disk)
                    if self._host.layers.current(disk.path):
                        self._host.layers.top(disk)  # grows it
                return
            running = self._live("reconfigure")
            for step in self._steps(running, hardware):
                step()
            self._progress(running, name=hardware.name)

    def _steps(self, running: Running, wanted: Hardware) -> list[Step]:
        """What to do, in order; all of it is possible. What goes, goes first: its place may be wanted."""
        now = self.hardware
        self._check_fixed(now, wanted)
        steps = [*self._nics_to_go(running, now, wanted), *self._disk_steps(running, now, wanted)]
        steps += self._nic_steps(running, now, wanted)
        if wanted.cdrom != now.cdrom:
            steps.append(partial(self._change_cd, running, wanted.cdrom))
        if wanted.memory != now.memory:
            steps.append(partial(self._add_memory, running, wanted.memory))
        if wanted.vcpus != now.vcpus:
            steps.append(partial(self._add_vcpus, running, wanted.vcpus))
        return steps

    def _nics_to_go(self, running: Running, now: Hardware, wanted: Hardware) -> list[Step]:
        kept = {nic.mac: nic for nic in wanted.nics}
        gone = [nic for nic in now.nics if nic.mac not in kept or self._is_other(nic, kept[nic.mac])]
        return [partial(self._remove_nic, running, nic) for nic in gone]

    def _disk_steps(self, running: Running, now: Hardware, wanted: Hardware) -> list[Step]:
        olds, news = {disk.path: disk for disk in now.disks}, {disk.path: disk for disk in wanted.disks}
        going = [disk for disk in self._shape.disks if disk.path not in news]
        coming = [disk for path, disk in news.items() if path not in olds]
        for disk in (*going, *coming):
            self._check_hot(disk)
        steps: list[Step] = [partial(self._remove_disk, running, disk) for disk in going]
        steps += [partial(self._add_disk, running, disk) for disk in coming]
        larger = [disk for path, disk in news.items() if path in olds and disk.size != olds[path].size]
        return steps + [partial(self._grow, running, disk) for disk in larger]

    def _nic_steps(self, running: Running, now: Hardware, wanted: Hardware) -> list[Step]:
        olds = {nic.mac: nic for nic in now.nics}
        steps: list[Step] = []
        for nic in wanted.nics:
            old = olds.get(nic.mac)
            if old is None or self._is_other(old, nic):
                steps.append(partial(self._add_nic, running, nic))
            elif old != nic:
                steps.append(partial(self._set_cable, running, nic))
        return steps

    def _is_other(self, old: Nic, new: Nic) -> bool:
        """Whether the guest sees another device, or the back end is another kind: more than another cable."""
        networks = self._host.settings.networks
        ends = networks.get(old.network), networks.get(new.network)
        recabled = old.network != new.network and not all(isinstance(end, SwitchNetwork) for end in ends)
        moved = new.slot not in {None, self._shape.slot(old.mac)}
        return recabled or moved or old.model != new.model

    def _check_fixed(self, now: Hardware, wanted: Hardware) -> None:
        """Raises NotSupported unless a running machine can become what is wanted."""
        changed = [field for field in _FIXED if getattr(now, field) != getattr(wanted, field)]
        if changed:
            raise self._no(f"{', '.join(changed)} cannot change")
        if wanted.vcpus < now.vcpus or wanted.vcpus > max(now.vcpus, now.max_vcpus or 0):
            raise self._no(f"{now.vcpus} vCPUs cannot become {wanted.vcpus}; room was kept for {now.max_vcpus}")
        if wanted.vcpus % now.cores_per_socket:
            raise self._no(f"{wanted.vcpus} vCPUs do not make sockets of {now.cores_per_socket} cores")
        step, more = self._host.personality.memory_step, wanted.memory - now.memory
        if more < 0 or (more and wanted.memory > (now.max_memory or 0)) or more % step:
            raise self._no(f"{now.memory >> 20} MiB cannot become {wanted.memory >> 20}: in steps of {step >> 20}")
        olds = {disk.path: disk for disk in now.disks}
        for disk in wanted.disks:
            old = olds.get(disk.path)
            if old and (
                disk.size < old.size or replace(disk, size=0, backing=None) != replace(old, size=0, backing=None)
            ):
                raise self._no(f"{disk.path} cannot shrink or move")

    def _check_hot(self, disk: Disk) -> None:
        word, bus = devices.bus_of(self._host.personality, disk)
        if not bus.hot:
            raise self._no(f"disks do not come or go on {word}")

    def _no(self, why: str) -> NotSupported:
        return NotSupported(f"{self.hardware.name} runs: {why}", operation="reconfigure")

    def _progress(self, running: Running, **changes: object) -> None:
        """Remember how far it came."""
        hardware = replace(self.hardware, **changes)  # type: ignore[arg-type]
        shape = self._shaped(hardware, self._shape)
        self._shape = running.shape = shape

    def _add_vcpus(self, running: Running, wanted: int) -> None:
        free = [each for each in running.ask("query-hotpluggable-cpus") if "qom-path" not in each]
        free.sort(key=lambda each: (each["props"].get("socket-id", 0), each["props"].get("core-id", 0)))
        for slot in free[: wanted - self.hardware.vcpus]:
            properties = slot["props"]
            name = "cpu-" + "-".join(str(properties[key]) for key in sorted(properties))
            running.command("device_add", {"driver": slot["type"], "id": name, **properties})
            self._progress(running, vcpus=self.hardware.vcpus + 1)

    def _add_memory(self, running: Running, wanted: int) -> None:
        size, index = wanted - self.hardware.memory, len(self._shape.modules)
        running.command("object-add", commandline.module(index, size))
        running.command("device_add", commandline.module_device(index))
        self._shape = replace(self._shape, modules=(*self._shape.modules, size))
        self._progress(running, memory=wanted)

    def _add_disk(self, running: Running, disk: Disk) -> None:
        personality, disks = self._host.personality, (*self.hardware.disks, disk)
        slot = dict(commandline.homes_for(personality, disks, self._shape.homes)).get(disk.path)
        word, _ = devices.bus_of(personality, disk)
        file = self._host.layers.top(disk)
        running.command("blockdev-add", devices.block(file) | {"node-name": devices.node_id(file)})
        # Nothing runs between the two: the guest finds the disk when it looks what is on the new controller.
        with self._undone_by(running, "blockdev-del", {"node-name": devices.node_id(file)}), self._still(running):
            if slot is not None:
                running.command("device_add", devices.home(personality, disk, slot))
            elif (word, disk.controller) not in commandline.controllers(personality, self._shape):
                running.command("device_add", devices.controller(personality, word, disk.controller))
            running.command("device_add", devices.disk(personality, disk, file, slot))
        running.nodes[disk.path] = devices.node_id(file)
        self._progress(running, disks=disks)

    def _remove_disk(self, running: Running, disk: Disk) -> None:
        slot = self._shape.home(disk)
        self._release(running, devices.disk_id(disk) if slot is None else devices.home_id(slot))
        running.ask("blockdev-del", node_name=running.nodes.pop(disk.path))
        self._progress(running, disks=tuple(each for each in self.hardware.disks if each.path != disk.path))

    @contextmanager
    def _undone_by(self, running: Running, command: str, arguments: devices.Tree) -> Iterator[None]:
        """A back end without its device is nobody's."""
        try:
            yield
        except EngineError:
            with suppress(EngineError):
                running.command(command, arguments)
            raise

    @contextmanager
    def _still(self, running: Running) -> Iterator[None]:
        if self._state is not MachineState.RUNNING:
            yield
            return
        running.ask("stop")
        try:
            yield
        finally:
            running.ask("cont")

    def _grow(self, running: Running, disk: Disk) -> None:
        running.ask("block_resize", node_name=running.nodes[disk.path], size=disk.size)
        self._host.layers.grown(disk.path, disk.size)
        same = tuple(disk if each.path == disk.path else each for each in self.hardware.disks)
        self._progress(running, disks=same)

    def _add_nic(self, running: Running, nic: Nic) -> None:
        personality, hardware = self._host.personality, replace(self.hardware, nics=(*self.hardware.nics, nic))
        slots = dict(commandline.slots_for(personality, hardware.nics, self._shape.slots))
        network = self._host.settings.networks.get(nic.network)
        switched = self._plug_all(replace(hardware, nics=(nic,)))
        address = self._host.switch().address if switched else None
        inside = seeded(hardware.cdrom).get(nic.mac)
        running.command("netdev_add", devices.netdev(hardware.uuid, nic.mac, network, inside, address))
        with self._undone_by(running, "netdev_del", {"id": devices.netdev_id(nic.mac)}):
            running.command("device_add", devices.nic(personality, nic, slots[nic.mac]))
        self._set_links(running, (nic,))
        self._progress(running, nics=hardware.nics)

    def _remove_nic(self, running: Running, nic: Nic) -> None:
        self._release(running, devices.nic_id(nic.mac))
        running.ask("netdev_del", id=devices.netdev_id(nic.mac))
        self._unplug_all(replace(self.hardware, nics=(nic,)))
        self._progress(running, nics=tuple(each for each in self.hardware.nics if each.mac != nic.mac))

    def _set_cable(self, running: Running, nic: Nic) -> None:
        """Its cable, and into which port of the switch: a port's VLAN may change while the guest looks on."""
        if isinstance(self._host.settings.networks.get(nic.network), SwitchNetwork):
            self._plug_all(replace(self.hardware, nics=(nic,)))
        self._set_links(running, (nic,))
        self._progress(running, nics=tuple(nic if each.mac == nic.mac else each for each in self.hardware.nics))

    def _change_cd(self, running: Running, medium: Path | None) -> None:
        if medium is None:
            running.ask("eject", id=devices.CDROM, force=True)
        else:
            arguments = {"id": devices.CDROM, "filename": str(medium), "format": "raw", "force": True}
            running.command("blockdev-change-medium", {**arguments, "read-only-mode": "read-only"})
        self._progress(running, cdrom=medium)

    def _release(self, running: Running, device: str) -> None:
        since = running.monitor.mark()
        running.ask("device_del", id=device)

        def gone(event: Event) -> bool:
            return bool(event["event"] == "DEVICE_DELETED" and event.get("data", {}).get("device") == device)

        if running.monitor.await_event(since, gone, _RELEASE) is None:
            raise GuestSilent(f"the guest did not let go of {device} within {_RELEASE:.0f} s", operation="reconfigure")
