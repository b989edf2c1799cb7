"""The state of one machine, and how its processes come and go."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.qemu import QemuError
from harness.twins.engine import devices
from harness.twins.engine.commandline import Shape, Surroundings, build, controllers, homes_for, slots_for
from harness.twins.engine.host import Host
from harness.twins.engine.layers import Layer, make_empty
from harness.twins.engine.nat import seeded
from harness.twins.engine.running import Place, Running
from harness.twins.engine.values import (
    Disk,
    EngineError,
    Hardware,
    MachineState,
    NatNetwork,
    Nic,
    NotSupported,
    SwitchNetwork,
    WrongMachineState,
)

SUSPENDED = "suspended"
"""The tag of the memory of a suspended machine."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment to go back to.

    Args:
        name: the front's.
        memory: whether it was running, and its memory is kept.
        tag: under which QEMU keeps it.
        shape: what it was made of.
        layers: what its disks held, by :attr:`Disk.path`.
    """

    name: str
    memory: bool
    tag: str
    shape: Shape
    layers: dict[Path, Layer]


class MachineBase:
    """What the verbs stand on; they hold :attr:`_lock`."""

    def __init__(self, key: str, hardware: Hardware, host: Host, destroyed: Callable[[str], None]) -> None:
        self._key = key
        self._host = host
        self._destroyed = destroyed
        self._lock = threading.RLock()
        self._state = MachineState.OFF
        self._running: Running | None = None
        self._snapshots: dict[str, Snapshot] = {}
        self._tags = 0
        self._place = Place(host.place(key))
        self._place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._shape = self._shaped(hardware, None)
        for disk in hardware.disks:
            host.layers.know(disk)

    @property
    def key(self) -> str:
        """The front's own identity of it."""
        return self._key

    @property
    def hardware(self) -> Hardware:
        """What it consists of now."""
        return self._shape.hardware

    @property
    def state(self) -> MachineState:
        """What it is doing now."""
        return self._state

    @property
    def serial_path(self) -> Path:
        """The file that keeps the first serial port's output since power-on."""
        return self.hardware.serial or self._place.folder / "serial.log"

    @property
    def pid(self) -> int | None:
        """QEMU's process, None without one."""
        running = self._running
        return running.child.pid if running else None

    def layers(self) -> list[Layer]:
        """What its snapshots need."""
        return [layer for snapshot in list(self._snapshots.values()) for layer in snapshot.layers.values()]

    def _require(self, verb: str, *states: MachineState) -> None:
        if self._state not in states:
            wanted = " or ".join(states)
            raise WrongMachineState(f"{self.hardware.name} is {self._state}, not {wanted}", operation=verb)

    def _live(self, verb: str) -> Running:
        self._require(verb, MachineState.RUNNING, MachineState.PAUSED)
        if self._running is None or not self._running.child.running:
            raise WrongMachineState(f"{self.hardware.name} has just ended", operation=verb)
        return self._running

    def _shaped(self, hardware: Hardware, before: Shape | None) -> Shape:
        """How a process of this hardware would be made.

        Raises:
            NotSupported: it cannot.
        """
        if hardware.vcpus < 1 or hardware.memory < 1 << 20 or hardware.memory % (1 << 20):
            raise NotSupported(f"{hardware.vcpus} vCPUs and {hardware.memory} bytes are no machine: whole MiB, please")
        personality, networks = self._host.personality, self._host.settings.networks
        places = [(devices.bus_of(personality, disk)[0], disk.controller, disk.unit) for disk in hardware.disks]
        if len(set(places)) != len(places) or len({disk.path for disk in hardware.disks}) != len(places):
            raise NotSupported(f"two disks are the same, or in one place: {places}")
        slots = slots_for(personality, hardware.nics, before.slots if before else ())
        for nic in hardware.nics:
            devices.nic(personality, nic, dict(slots)[nic.mac])
            if nic.network and nic.network not in networks:
                raise NotSupported(f"there is no network {nic.network!r}; there are {', '.join(networks) or 'none'}")
        homes = homes_for(personality, hardware.disks, before.homes if before else ())
        boot_bus = personality.uefi_bus if hardware.uefi else ""
        had = before.controllers if before else ()
        shape = Shape(hardware, before.modules if before else (), slots, homes, boot_bus, had)
        return replace(shape, controllers=tuple(controllers(personality, shape)))

    def _launch(self, shape: Shape, *, tag: str = "", anew: bool = False) -> Running:
        """Start a process; its vCPUs do not run yet. With ``tag`` it is what it was then."""
        hardware = shape.hardware
        firmware = self._host.firmware() if hardware.uefi else None
        nvram = self._nvram(hardware)
        files = {disk.path: self._host.layers.top(disk) for disk in hardware.disks}
        state = self._place.folder / "state.qcow2"
        if not state.exists():
            make_empty(state, 1 << 20)
        serial = hardware.serial or self._place.folder / "serial.log"
        serial.parent.mkdir(parents=True, exist_ok=True)
        self._host.keep_trimmed(serial)
        self._host.keep_trimmed(self._place.log)  # a guest can make QEMU complain
        if anew:
            serial.write_bytes(b"")
        inside = seeded(hardware.cdrom)
        switched = self._plug_all(hardware)
        around = Surroundings(
            emulator=self._host.emulator,
            accel=self._host.accel,
            firmware=firmware,
            networks=self._host.settings.networks,
            switch=self._host.switch().address if switched else None,
            inside=inside,
            files=files,
            nvram=self._host.layers.top(nvram) if nvram else None,
            state=state,
            serial=serial,
            sockets=(0, 0, 0),
        )
        personality = self._host.personality
        running = Running(
            self._place,
            shape,
            personality=personality,
            command=lambda sockets: build(personality, shape, replace(around, sockets=sockets)),
            seconds=self._host.settings.seconds,
            rebooted=self._on_reboot,
            panicked=self._on_panic,
        )
        running.nodes = {path: devices.node_id(file) for path, file in files.items()}
        if nvram:
            running.nodes[nvram.path] = "flash-variables"
        try:
            if tag:
                self._load(running, tag)
            self._set_links(running, hardware.nics)
        except EngineError:
            running.end()
            raise
        return running

    def _begin(self, running: Running) -> None:
        """Let its vCPUs run; from now on it is the machine's process."""
        try:
            running.ask("cont")
        except EngineError:
            running.end()
            raise
        self._running, self._shape, self._state = running, running.shape, MachineState.RUNNING
        threading.Thread(target=self._watch, args=(running,), name=f"watch-{running.child.pid}", daemon=True).start()

    def _finish(self) -> None:
        """End its process, if there is one; nobody hears of it."""
        running, self._running = self._running, None
        if running is not None:
            running.end()
        self._unplug_all(self.hardware)
        self._state = MachineState.OFF

    def _load(self, running: Running, tag: str) -> None:
        running.job("snapshot-load", tag=tag, vmstate=devices.VMSTATE, devices=self._nodes(running))

    def _nodes(self, running: Running) -> list[str]:
        return [devices.VMSTATE, *running.nodes.values()]

    def _nvram(self, hardware: Hardware) -> Disk | None:
        """UEFI's variables, which snapshots keep like any disk."""
        if not hardware.uefi:
            return None
        template = self._host.firmware().variables
        return Disk(self._place.folder / devices.NVRAM, template.stat().st_size, template)

    def _every_disk(self, hardware: Hardware) -> Sequence[Disk]:
        nvram = self._nvram(hardware)
        return (*hardware.disks, nvram) if nvram else hardware.disks

    def _set_links(self, running: Running, nics: Sequence[Nic]) -> None:
        for nic in nics:
            running.ask("set_link", name=devices.nic_id(nic.mac), up=nic.connected)

    def _plug_all(self, hardware: Hardware) -> bool:
        networks = self._host.settings.networks
        found = False
        for nic in hardware.nics:
            network = networks.get(nic.network)
            if isinstance(network, SwitchNetwork):
                found = True
                if nic.vlan is not None or nic.trunk is not None:
                    network = replace(network, vlan=nic.vlan, trunk=nic.trunk, native=nic.native)
                try:
                    self._host.plug(devices.port_of(hardware.uuid, nic.mac), network)
                except QemuError as error:
                    raise EngineError(str(error), operation="switch") from error
        return found

    def _unplug_all(self, hardware: Hardware) -> None:
        for nic in hardware.nics:
            if not isinstance(self._host.settings.networks.get(nic.network), NatNetwork | None):
                self._host.unplug(devices.port_of(hardware.uuid, nic.mac))

    def _on_reboot(self) -> None:
        raise NotImplementedError

    def _on_panic(self) -> None:
        raise NotImplementedError

    def _on_exit(self, running: Running) -> None:
        raise NotImplementedError

    def _watch(self, running: Running) -> None:
        running.await_end()
        with self._lock:
            if self._running is not running or running.expected:
                return
            self._running = None
            self._state = MachineState.OFF
            with contextlib.suppress(OSError):
                running.clean()
            self._unplug_all(self.hardware)
        self._on_exit(running)
