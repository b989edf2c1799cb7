"""The command line that makes QEMU one machine of a personality."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.qemu import accel
from harness.qemu.firmware import Firmware
from harness.twins.engine import devices
from harness.twins.engine.personality import Personality
from harness.twins.engine.values import Disk, Hardware, Network, Nic, NotSupported

_MODULES = 8  # sockets for memory that comes later


@dataclass(frozen=True, slots=True)
class Shape:
    """What a QEMU process is made of: a snapshot's memory fits into a process of the same shape alone.

    Args:
        hardware: as asked; its memory includes the modules.
        modules: memory that came while the machine ran, in bytes, in order.
        slots: the number of each NIC's slot, by MAC.
        homes: the PCI slots of disks that have a controller to themselves, by :attr:`Disk.path`.
        boot_bus: where the first disk hangs instead of where it was asked for; empty: there.
        controllers: shared disk controllers, by bus and number: one that came stays when its last disk goes.
    """

    hardware: Hardware
    modules: tuple[int, ...] = ()
    slots: tuple[tuple[str, int], ...] = ()
    homes: tuple[tuple[Path, int], ...] = ()
    boot_bus: str = ""
    controllers: tuple[tuple[str, int], ...] = ()

    @property
    def disks(self) -> tuple[Disk, ...]:
        """The disks where they really hang."""
        disks = self.hardware.disks
        if not self.boot_bus or not disks:
            return disks
        return (replace(disks[0], bus=self.boot_bus, controller=0, unit=0), *disks[1:])

    @property
    def boot_memory(self) -> int:
        """Bytes that were there from the beginning."""
        return self.hardware.memory - sum(self.modules)

    def slot(self, mac: str) -> int:
        """Where a NIC is."""
        return dict(self.slots)[mac]

    def home(self, disk: Disk) -> int | None:
        """The slot of a disk's own controller, if it has one."""
        return dict(self.homes).get(disk.path)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a machine finds on its host.

    Args:
        emulator: path of QEMU.
        accel: ``kvm`` or ``tcg``.
        firmware: UEFI, for machines that have it.
        networks: by name.
        switch: where the switch listens.
        inside: the guest's addresses by MAC.
        files: the layer of each disk, by :attr:`Disk.path`.
        nvram: the layer of the UEFI variables.
        state: the qcow2 that takes memory snapshots.
        serial: the first serial port's log.
        sockets: inherited file numbers: monitor, first and second serial port.
    """

    emulator: Path
    accel: str
    firmware: Firmware | None
    networks: Mapping[str, Network]
    switch: tuple[str, int] | None
    inside: Mapping[str, str]
    files: Mapping[Path, Path]
    nvram: Path | None
    state: Path
    serial: Path
    sockets: tuple[int, int, int]


def slots_for(
    personality: Personality, nics: tuple[Nic, ...], before: tuple[tuple[str, int], ...] = ()
) -> tuple[tuple[str, int], ...]:
    """A slot for every NIC: the one it asks for, the one it has, or the first that is free.

    Raises:
        NotSupported: there are not that many, or two want the same.
    """
    had = dict(before)
    taken: dict[str, int] = {}
    for nic in nics:
        wanted = had.get(nic.mac) if nic.slot is None else nic.slot
        if wanted is not None:
            taken[nic.mac] = wanted
    free = [slot for slot in range(personality.nic_slots) if slot not in taken.values()]
    for nic in nics:
        if nic.mac not in taken:
            if not free:
                raise NotSupported(f"{personality.name} has {personality.nic_slots} slots for NICs")
            taken[nic.mac] = free.pop(0)
    if len(set(taken.values())) != len(nics) or not set(taken.values()) <= set(range(personality.nic_slots)):
        raise NotSupported(f"NICs need slots of their own, 0 to {personality.nic_slots - 1}, and MACs too; not {taken}")
    return tuple(sorted(taken.items()))


def homes_for(
    personality: Personality, disks: tuple[Disk, ...], before: tuple[tuple[Path, int], ...] = ()
) -> tuple[tuple[Path, int], ...]:
    """Slots for disks that get a controller to themselves, as long as there are any: the one it has, or a free one."""
    had = dict(before)
    taken = {disk.path: had[disk.path] for disk in disks if disk.path in had}
    free = [slot for slot in personality.spare_slots if slot not in taken.values()]
    for disk in disks[1:]:
        if free and disk.path not in taken and devices.bus_of(personality, disk)[1].apart:
            taken[disk.path] = free.pop(0)
    return tuple(sorted(taken.items()))


def build(personality: Personality, shape: Shape, around: Surroundings) -> list[str]:
    """The words, the emulator first. vCPUs do not run until the monitor says so."""
    hardware = shape.hardware
    words = [str(around.emulator), "-name", f"guest={_plain(hardware.name)}", "-uuid", hardware.uuid]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-S", "-msg", "timestamp=on"]
    words += ["-machine", f"{personality.machine}{_flash(shape, around)}"]
    words += ["-accel", accel.option(around.accel, hardware.vcpus, _most(hardware))]
    # TCG walks five levels of page tables in software for every TLB miss where the guest may use them.
    model = "host,migratable=on" if around.accel == "kvm" else "max,la57=off"
    words += ["-cpu", f"{model},{personality.cpu}", *_sizes(shape)]
    words += ["-rtc", "base=utc", "-boot", "strict=on"]
    for table, fields in personality.smbios(hardware.uuid).items():
        words += ["-smbios", ",".join([f"type={table}", *(f"{key}={_plain(text)}" for key, text in fields.items())])]
    words += _sockets(around)
    words += _disks(personality, shape, around)
    words += _nics(personality, shape, around)
    if personality.panic:  # the guest goes on as its own settings say: QEMU would end it
        words += ["-device", _json({"driver": personality.panic}), "-action", "panic=none"]
    return [*words, "-device", _json({"driver": "VGA", "bus": "pci.0", "addr": "0x2"})]


def controllers(personality: Personality, shape: Shape) -> list[tuple[str, int]]:
    """The shared disk controllers that must be there, by bus and number."""
    wanted = {(next(iter(personality.buses)), 0)}
    shared = [disk for disk in shape.disks if shape.home(disk) is None]
    wanted |= {(devices.bus_of(personality, disk)[0], disk.controller) for disk in shared}
    return sorted({*shape.controllers, *(pair for pair in wanted if personality.buses[pair[0]].controller)})


def _most(hardware: Hardware) -> int:
    return max(hardware.vcpus, hardware.max_vcpus or 0)


def _sizes(shape: Shape) -> list[str]:
    hardware = shape.hardware
    most = _most(hardware)
    cores = hardware.cores_per_socket
    if hardware.vcpus % cores or most % cores:
        raise NotSupported(f"{hardware.vcpus} (up to {most}) vCPUs do not make sockets of {cores} cores")
    smp = f"cpus={hardware.vcpus},maxcpus={most},sockets={most // cores},cores={cores},threads=1"
    memory = f"size={shape.boot_memory >> 20}M"
    if hardware.max_memory and hardware.max_memory > shape.boot_memory:
        memory += f",slots={_MODULES},maxmem={hardware.max_memory >> 20}M"
    words = ["-smp", smp, "-m", memory, *_nodes(shape, most)]
    for index, size in enumerate(shape.modules):
        words += ["-object", _json(module(index, size)), "-device", _json(module_device(index))]
    return words


def _nodes(shape: Shape, most: int) -> list[str]:
    """NUMA nodes, each with neighbouring vCPUs and memory of its own."""
    count, words = shape.hardware.numa_nodes, []
    for at in range(count):
        mib = (shape.boot_memory >> 20) * (at + 1) // count - (shape.boot_memory >> 20) * at // count
        words += ["-object", _json({"qom-type": "memory-backend-ram", "id": f"node-{at}", "size": mib << 20})]
        cpus = f"{most * at // count}-{most * (at + 1) // count - 1}"
        words += ["-numa", f"node,nodeid={at},cpus={cpus},memdev=node-{at}"]
    return words


def module(index: int, size: int) -> dict[str, Any]:
    """Memory that came later."""
    return {"qom-type": "memory-backend-ram", "id": f"ram-{index}", "size": size}


def module_device(index: int) -> dict[str, Any]:
    """The module that holds it."""
    return {"driver": "pc-dimm", "id": f"dimm-{index}", "memdev": f"ram-{index}"}


def _flash(shape: Shape, around: Surroundings) -> str:
    return ",pflash0=flash-code,pflash1=flash-variables" if shape.hardware.uefi and around.firmware else ""


def _sockets(around: Surroundings) -> list[str]:
    monitor, first, second = around.sockets
    log = f"logfile={_plain(str(around.serial))},logappend=on"
    words = ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
    # Nobody needs to be connected: what a port says is lost then, but for the log.
    words += ["-chardev", f"socket,id=serial,fd={first},server=on,wait=off,{log}", "-serial", "chardev:serial"]
    return [*words, "-chardev", f"socket,id=agent,fd={second},server=on,wait=off", "-serial", "chardev:agent"]


def _disks(personality: Personality, shape: Shape, around: Surroundings) -> list[str]:
    hardware = shape.hardware
    words = _node(devices.VMSTATE, devices.block(around.state))
    if hardware.uefi and around.firmware and around.nvram:
        words += _node("flash-code", devices.block(around.firmware.code, "raw", read_only=True))
        words += _node("flash-variables", devices.block(around.nvram))
    for word, number in controllers(personality, shape):
        words += ["-device", _json(devices.controller(personality, word, number))]
    for index, disk in enumerate(shape.disks):
        file = around.files[disk.path]
        words += _node(devices.node_id(file), devices.block(file))
        slot = shape.home(disk)
        if slot is not None:
            words += ["-device", _json(devices.home(personality, disk, slot))]
        words += ["-device", _json(devices.disk(personality, disk, file, slot, boot=index == 0))]
    drive = dict(personality.cdrom) | {"id": devices.CDROM, "bootindex": 2}
    if hardware.cdrom:
        words += _node("medium", devices.block(hardware.cdrom, "raw", read_only=True))
        drive["drive"] = "medium"
    return [*words, "-device", _json(drive)]


def _nics(personality: Personality, shape: Shape, around: Surroundings) -> list[str]:
    words: list[str] = []
    for nic in shape.hardware.nics:
        network = around.networks.get(nic.network)
        inside = around.inside.get(nic.mac)
        back = devices.netdev(shape.hardware.uuid, nic.mac, network, inside, around.switch)
        words += ["-netdev", _json(back), "-device", _json(devices.nic(personality, nic, shape.slot(nic.mac)))]
    return words


def _node(name: str, tree: dict[str, Any]) -> list[str]:
    return ["-blockdev", _json(tree | {"node-name": name})]


def _json(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, separators=(",", ":"))


def _plain(text: str) -> str:
    """A value for QEMU's ``key=value`` syntax: commas are doubled."""
    return text.replace(",", ",,")
