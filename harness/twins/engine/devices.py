"""QEMU's objects for disks, NICs and the CD: the same trees for the command line and for hot-plug."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.qemu import addresses
from harness.twins.engine.nat import forward, restricted
from harness.twins.engine.personality import Bus, Personality
from harness.twins.engine.values import Disk, NatNetwork, Network, Nic, NotSupported

Tree = dict[str, Any]

CDROM = "cdrom"
NVRAM = "nvram"
VMSTATE = "vmstate"
_SECTOR = 512  # QEMU's own choice


def disk_id(disk: Disk) -> str:
    """The device's name in QEMU."""
    return "disk-" + hashlib.sha256(str(disk.path).encode()).hexdigest()[:12]


def nic_id(mac: str) -> str:
    """The device's name in QEMU."""
    return "nic-" + mac.replace(":", "")


def node_id(file: Path) -> str:
    """The block node's name: a layer is used by one machine at a time, so its own name will do."""
    return f"layer-{file.stem}"


def netdev_id(mac: str) -> str:
    """The back end's name in QEMU."""
    return "net-" + mac.replace(":", "")


def bus_of(personality: Personality, disk: Disk) -> tuple[str, Bus]:
    """The bus of a disk, and its word.

    Raises:
        NotSupported: no such bus, controller or unit.
    """
    word = disk.bus or next(iter(personality.buses))
    bus = personality.buses.get(word)
    if bus is None:
        raise NotSupported(f"there is no disk bus {word!r}; there are {', '.join(personality.buses)}")
    if not (0 <= disk.controller < bus.controllers and 0 <= disk.unit < bus.units):
        raise NotSupported(f"{word} has {bus.controllers} controllers of {bus.units} units; {disk} is beyond them")
    return word, bus


def controller_id(word: str, number: int) -> str:
    """The name in QEMU of a controller that several disks share."""
    return f"{word}{number}"


def home_id(slot: int) -> str:
    """The name in QEMU of a controller that a disk has to itself."""
    return f"home{slot}"


def controller(personality: Personality, word: str, number: int) -> Tree:
    """A disk controller that several disks share."""
    bus = personality.buses[word]
    return _controller(bus, controller_id(word, number), bus.slot + number)


def home(personality: Personality, asked: Disk, slot: int) -> Tree:
    """A controller that a disk has to itself."""
    return _controller(bus_of(personality, asked)[1], home_id(slot), slot)


def _controller(bus: Bus, name: str, slot: int) -> Tree:
    return {"driver": bus.controller, "id": name, "bus": "pci.0", "addr": f"{slot:#x}"}


def block(file: Path, kind: str = "qcow2", *, read_only: bool = False) -> Tree:
    """A block node over a file of this machine.

    Flushes are skipped: a twin's guests are gone when this machine crashes anyway.
    """
    cache = {"direct": False, "no-flush": True}
    protocol = {"driver": "file", "filename": str(file), "discard": "unmap", "cache": cache}
    common = {"driver": kind, "read-only": read_only, "cache": cache, "file": protocol}
    return common | ({"discard": "unmap"} if not read_only else {})


def disk(personality: Personality, asked: Disk, file: Path, slot: int | None, *, boot: bool = False) -> Tree:
    """A disk on its own controller in ``slot``, or without one on the controller that it asks for."""
    word, bus = bus_of(personality, asked)
    name = controller_id(word, asked.controller) if slot is None else home_id(slot)
    if bus.device == "scsi-hd":
        place: Tree = {"bus": f"{name}.0", "channel": 0, "scsi-id": asked.unit, "lun": 0}
    elif bus.controller is None:
        place = {"bus": f"ide.{asked.controller}", "unit": asked.unit}
    else:
        place = {"bus": f"{name}.{asked.unit}", "unit": 0}
    tree: Tree = {"driver": bus.device, "id": disk_id(asked), "drive": node_id(file)} | place
    if asked.serial:
        tree["serial"] = asked.serial
    if asked.wwn is not None:
        tree["wwn"] = asked.wwn
    if asked.sector != _SECTOR:
        tree |= {"logical_block_size": asked.sector, "physical_block_size": asked.sector}
    return tree | ({"bootindex": 1} if boot else {})


def nic(personality: Personality, asked: Nic, slot: int) -> Tree:
    """A NIC in its slot."""
    model = personality.nics.get(asked.model or next(iter(personality.nics)))
    if model is None:
        raise NotSupported(f"there is no NIC model {asked.model!r}; there are {', '.join(personality.nics)}")
    return {
        "driver": model,
        "id": nic_id(asked.mac),
        "netdev": netdev_id(asked.mac),
        "mac": asked.mac,
        "bus": "pci.0",
        "addr": f"{personality.nic_slot + slot:#x}",
        "romfile": "",  # nothing here boots by network
    }


def port_of(uuid: str, mac: str) -> tuple[str, int]:
    """Where a NIC on the switch receives its frames."""
    return addresses.udp("twin", uuid, mac)


def netdev(uuid: str, mac: str, network: Network | None, inside: str | None, switch: tuple[str, int] | None) -> Tree:
    """The back end of a NIC.

    Args:
        uuid: of the machine.
        mac: of the NIC.
        network: what it is plugged into; None: nothing.
        inside: the guest's address, as far as it is known.
        switch: where the switch listens.
    """
    name = netdev_id(mac)
    if isinstance(network, NatNetwork):
        return restricted(network, inside) | {"id": name}
    if network is None or switch is None:
        return {"type": "hubport", "id": name, "hubid": int(mac.replace(":", "")[-7:], 16)}
    host, port = port_of(uuid, mac)
    remote, local = {"host": switch[0], "port": str(switch[1])}, {"host": host, "port": str(port)}
    return {"type": "socket", "id": name, "udp": ":".join(remote.values()), "localaddr": ":".join(local.values())}


def forwards(
    nics: tuple[Nic, ...], networks: Mapping[str, Network], inside: Mapping[str, str]
) -> dict[str, tuple[str, int]]:
    """Where on this machine the ssh of each NIC appears."""
    found = {}
    for asked in nics:
        network = networks.get(asked.network)
        if isinstance(network, NatNetwork) and asked.mac in inside:
            found[asked.mac] = forward(network, inside[asked.mac])
    return found
