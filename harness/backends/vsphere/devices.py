"""Virtual devices: as they are asked for, and found again in what a machine has.

Devices are known by class, controller and unit, never by key: a host numbers new ones as it likes. Those of one request
have negative keys, which only tell them apart within it (vSphere Web Services API, ``VirtualDevice.key``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pyVmomi import vim

from harness.backends.model import SECTOR, DeviceKind, DiskSpec, NicSpec
from harness.backends.protocol import Refused
from harness.backends.views import DiskView
from harness.backends.vsphere.networks import PortGroup
from harness.core import Size

DEVICES = "config.hardware.device"
"""The property that holds a machine's devices."""
_OWN_UNIT = 7
"""The unit of a SCSI bus that the controller itself has."""
_LAST_UNIT = 15

DISK_MODEL = "pvscsi"
_NICS: dict[DeviceKind, Any] = {
    DeviceKind.SYNTHETIC: vim.vm.device.VirtualVmxnet3,
    DeviceKind.EMULATED: vim.vm.device.VirtualE1000e,
}

Device = Any
"""A ``vim.vm.device.VirtualDevice``."""
Change = Any
"""A ``vim.vm.device.VirtualDeviceSpec``."""


# Asking.


def added(device: Device, *, create: bool = False) -> Change:
    """A device is to come; ``create``: with its file."""
    return vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create" if create else None, device=device)


def edited(device: Device) -> Change:
    """A device is to become as it is now in our hands."""
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)


def removed(device: Device, *, destroy: bool = False) -> Change:
    """A device is to go; ``destroy``: with its file."""
    return vim.vm.device.VirtualDeviceSpec(
        operation="remove", fileOperation="destroy" if destroy else None, device=device
    )


def nic(spec: NicSpec, group: PortGroup, key: int) -> Device:
    """A network card with a MAC address of ours: the type ``manual`` keeps the host from checking its range."""
    return _NICS[spec.kind](
        key=key,
        addressType="manual",
        macAddress=spec.mac,
        backing=group.backing(),
        wakeOnLanEnabled=True,
        connectable=_cable(spec.connected),
    )


def sectors_are_usual(asked: DiskSpec, host: str, operation: str) -> None:
    """See that a disk is asked for which vSphere can make.

    Up to release 8 every virtual disk has sectors of 512 bytes, also on drives with others (VMware vSphere Storage,
    "Device Sector Formats and VMFS Versions"); 9.0 gave the API a format of virtual disks (``DatastoreSectorFormat``).

    Raises:
        Refused: its sectors are of another size.
    """
    if asked.sector != SECTOR:
        message = f"{asked.serial}: ESXi's disks have sectors of {SECTOR} bytes, not of {asked.sector}"
        raise Refused(message, host=host, operation=operation)


def disk(size: Size, controller: int, unit: int, key: int) -> Device:
    """An empty thin disk in the machine's own folder."""
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName="", diskMode="persistent", thinProvisioned=True)
    return vim.vm.device.VirtualDisk(
        key=key,
        controllerKey=controller,
        unitNumber=unit,
        capacityInBytes=int(size),
        capacityInKB=size.kib,
        backing=backing,
    )


def drive(iso: str, controller: int, unit: int, key: int) -> Device:
    """A CD-ROM drive with a disc in it."""
    return vim.vm.device.VirtualCdrom(
        key=key,
        controllerKey=controller,
        unitNumber=unit,
        backing=vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=iso),
        connectable=_cable(True),
    )


def serial(file: str, key: int) -> Device:
    """A serial port whose output the host keeps in a file of the datastore."""
    return vim.vm.device.VirtualSerialPort(
        key=key,
        yieldOnPoll=True,
        backing=vim.vm.device.VirtualSerialPort.FileBackingInfo(fileName=file),
        connectable=_cable(True),
    )


def serial_port(port: int, key: int) -> Device:
    """A serial port for whose output, and input, the host listens."""
    return vim.vm.device.VirtualSerialPort(
        key=key,
        yieldOnPoll=True,
        backing=vim.vm.device.VirtualSerialPort.URIBackingInfo(serviceURI=f"tcp://:{port}", direction="server"),
        connectable=_cable(True),
    )


def listens(found: Iterable[Device]) -> int | None:
    """The port that its host listens on for the first such serial port of a machine."""
    for device in found:
        backing = getattr(device, "backing", None)
        if isinstance(backing, vim.vm.device.VirtualSerialPort.URIBackingInfo) and backing.direction == "server":
            known = re.search(r":(\d+)$", str(backing.serviceURI))
            if known:
                return int(known[1])
    return None


def ahci(key: int) -> Device:
    """A SATA controller, for a drive where a machine has no IDE."""
    return vim.vm.device.VirtualAHCIController(key=key, busNumber=0)


def recable(card: Device, up: bool) -> Change:
    """The same card with its cable in or out, now and at the next start."""
    card.connectable = _cable(up)
    return edited(card)


def _cable(up: bool) -> Any:
    # A guest that could unplug devices by its tools would hide what is tested.
    return vim.vm.device.VirtualDevice.ConnectInfo(startConnected=up, connected=up, allowGuestControl=False)


# Finding.


def cards(devices: Iterable[Device]) -> list[Device]:
    """The network cards."""
    return [one for one in devices if isinstance(one, vim.vm.device.VirtualEthernetCard)]


def card_of(devices: Iterable[Device], mac: str) -> Device | None:
    """The card of this MAC address."""
    return next((card for card in cards(devices) if (card.macAddress or "").lower() == mac.lower()), None)


def model_of(card: Device) -> str:
    """A card's model as people call it: ``vmxnet3``, ``e1000e``."""
    return type(card).__name__.rpartition(".")[2].removeprefix("Virtual").lower()


def plugged(card: Device, running: bool) -> bool:
    """Whether the cable is in: now, or of a machine that is off, at its start."""
    state = card.connectable
    if state is None:
        return True
    return bool(state.connected if running else state.startConnected)


def source_of(card: Device, groups: dict[str, str]) -> str:
    """The name of the port group a card is plugged into; ``groups``: names of distributed ones by key."""
    backing = card.backing
    if isinstance(backing, vim.vm.device.VirtualEthernetCard.NetworkBackingInfo):
        return str(backing.deviceName or "")
    port = getattr(backing, "port", None)
    key = str(getattr(port, "portgroupKey", "") or "")
    return groups.get(key, key)


def disks(devices: Iterable[Device]) -> list[Device]:
    """The hard disks, the system's among them."""
    return [one for one in devices if isinstance(one, vim.vm.device.VirtualDisk)]


def size_of(found: Device) -> Size:
    """A disk's capacity."""
    return Size(found.capacityInBytes or (found.capacityInKB << 10))


def uuid_of(found: Device) -> str:
    """What a guest with ``disk.EnableUUID`` reads as the disk's serial number: its UUID without dashes."""
    return str(getattr(found.backing, "uuid", None) or "").replace("-", "").replace(" ", "").lower()


def disk_view(serial_number: str, found: Device) -> DiskView:
    """A data disk as the host has it."""
    return DiskView(serial_number, size_of(found), DISK_MODEL)


def scsi(devices: Iterable[Device]) -> Device | None:
    """The first SCSI controller, which the image's disk is on."""
    return next((one for one in devices if isinstance(one, vim.vm.device.VirtualSCSIController)), None)


def ide(devices: Iterable[Device]) -> Device | None:
    """The first IDE controller."""
    return next((one for one in devices if isinstance(one, vim.vm.device.VirtualIDEController)), None)


def free_unit(devices: Iterable[Device], controller: Device) -> int:
    """The lowest unit of a SCSI controller that nothing has.

    Raises:
        Refused: none is left.
    """
    taken = {one.unitNumber for one in devices if one.controllerKey == controller.key}
    for unit in range(_LAST_UNIT + 1):
        if unit not in taken and unit != _OWN_UNIT:
            return unit
    raise Refused("the machine's SCSI controller has no unit left for another disk")
