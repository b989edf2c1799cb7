"""Making a machine on an ESXi without a vCenter, which has no clones and no folders of machines.

The machine is made from nothing, and its disk as a child of the image's: what a linked clone is. Source: vSphere Web
Services API, ``VirtualDisk``, "Virtual Disk Backing" (a backing with a parent, created together with the machine).
"""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from harness.backends.vsphere import collector, devices, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.refs import Ref
from harness.core import Deadline, LabError

_SNAPSHOT_DEVICES = "config.hardware.device"
_IMAGE = ("config.guestId", "config.version")


def build(host: HostAccess, image: Ref, snapshot: Ref, config: dict[str, Any], deadline: Deadline) -> Ref:
    """The machine, off and cold.

    Args:
        host: where.
        image: the published image.
        snapshot: its snapshot, on whose disk the new one stands.
        config: the whole configuration, with the machine's name, as arguments of ``VirtualMachineConfigSpec``; its
            devices speak of the image's controllers.
        deadline: when to give up.
    """
    read = collector.read(host.session, [snapshot], [_SNAPSHOT_DEVICES], deadline, operation="create")
    then = read.get(snapshot, {}).get(_SNAPSHOT_DEVICES) or ()
    told = collector.read_one(host.session, image, *_IMAGE, deadline=deadline, operation="create")
    controller, disk = devices.scsi(then), next(iter(devices.disks(then)), None)
    if controller is None or disk is None:
        raise LabError("the published image has no disk", host=host.name, operation="create")
    spec = vim.vm.ConfigSpec(
        **config
        | {
            "files": vim.vm.FileInfo(vmPathName=f"[{host.store.name}]"),
            "guestId": told.get("config.guestId"),
            "version": told.get("config.version"),
            "deviceChange": [
                devices.added(type(controller)(key=controller.key, busNumber=0, sharedBus="noSharing")),
                devices.added(_child(disk), create=True),
                *config["deviceChange"],
            ],
        }
    )
    place = host.place
    made: Ref = tasks.run(
        host.session, "create", place.folder, "CreateVM_Task", deadline, spec, place.pool, place.host, patient=True
    )
    return made


def _child(disk: Any) -> Any:
    """An empty difference to a disk of the image, which nothing writes to any more."""
    parent = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=disk.backing.fileName, diskMode="persistent")
    return vim.vm.device.VirtualDisk(
        key=-1,
        controllerKey=disk.controllerKey,
        unitNumber=disk.unitNumber,
        capacityInKB=disk.capacityInKB,
        capacityInBytes=disk.capacityInBytes,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName="", diskMode="persistent", thinProvisioned=True, parent=parent
        ),
    )
