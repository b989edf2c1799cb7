"""Disks, DVDs and their controllers."""

from __future__ import annotations

import uuid
from typing import Any

from harness.twins.hyperv.emulated import power
from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet
from harness.twins.hyperv.emulated.configuration import Drive
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.objects import Thing
from harness.twins.hyperv.emulated.refusals import Refusal, no_file, wrong_state
from harness.twins.hyperv.emulated.world import World


@cmdlet("Get-VMHardDiskDrive")
def get_hard_disk_drive(call: Call) -> Answer:
    """The disks of machines."""
    return [vm.drive_thing(drive) for vm, drive in _chosen(call, dvd=False)]


@cmdlet("Get-VMDvdDrive")
def get_dvd_drive(call: Call) -> Answer:
    """The DVD drives of machines."""
    return [vm.drive_thing(drive) for vm, drive in _chosen(call, dvd=True)]


@cmdlet("Add-VMHardDiskDrive")
def add_hard_disk_drive(call: Call) -> Answer:
    """Put a disk into machines: any time at a SCSI controller, while they are off at an IDE one."""
    return _add(call, dvd=False)


@cmdlet("Add-VMDvdDrive")
def add_dvd_drive(call: Call) -> Answer:
    """Put a DVD drive into machines."""
    return _add(call, dvd=True)


@cmdlet("Remove-VMHardDiskDrive")
def remove_hard_disk_drive(call: Call) -> Answer:
    """Take disks out; the files stay."""
    return _remove(call, dvd=False)


@cmdlet("Remove-VMDvdDrive")
def remove_dvd_drive(call: Call) -> Answer:
    """Take DVD drives out."""
    return _remove(call, dvd=True)


@cmdlet("Set-VMDvdDrive")
def set_dvd_drive(call: Call) -> Answer:
    """Another disc, or none."""
    found = _chosen(call, dvd=True)
    for vm, drive in found:
        path = call.get("Path") or None
        if path is not None and not call.world.file(path).is_file():
            raise no_file(path)
        with vm.lock:
            _change(call.world, vm, lambda drive=drive, path=path: setattr(drive, "path", path))
    return call.passed(vm.drive_thing(drive) for vm, drive in found)


@cmdlet("Get-VMScsiController")
def get_scsi_controller(call: Call) -> Answer:
    """The SCSI controllers of machines."""
    wanted = call.get("ControllerNumber")
    return [
        controller_thing(vm, at)
        for vm in call.machines()
        for at in range(vm.config.scsi)
        if wanted is None or at == int(wanted)
    ]


@cmdlet("Add-VMScsiController")
def add_scsi_controller(call: Call) -> Answer:
    """One more; there may be four, and none comes while a machine runs."""
    machines = call.machines()
    for vm in machines:
        if vm.state != "Off":
            raise wrong_state("Adding a SCSI controller to", vm.name, vm.id)
        if vm.config.scsi >= 4:
            raise Refusal("InvalidParameter", f"'{vm.name}' has four SCSI controllers already.")
        vm.config.scsi += 1
    return call.passed(controller_thing(vm, vm.config.scsi - 1) for vm in machines)


def controller_thing(vm: Vm, number: int) -> Thing:
    """A SCSI controller as cmdlets show it."""
    drives = [
        vm.drive_thing(each) for each in vm.config.drives if (each.controller_type, each.controller) == ("SCSI", number)
    ]
    return Thing(
        "VMScsiController",
        f"{vm.key}/scsi/{number}",
        {**vm.owned(), "Name": "SCSI Controller", "ControllerNumber": number, "Drives": drives},
    )


def add(vm: Vm, kind: str, controller: int, location: int | None, path: str | None, *, dvd: bool) -> Drive:
    """A new drive.

    Raises:
        Refusal: the place is taken, or there is none.
    """
    place = location if location is not None else vm.free_location(kind, controller)
    limit = 2 if kind == "IDE" else 64
    if place is None or not 0 <= place < limit or (kind == "IDE" and not 0 <= controller < 2):
        raise Refusal("InvalidParameter", f"'{vm.name}' has no free location at {kind} controller {controller}.")
    taken = {(each.controller_type, each.controller, each.location) for each in vm.config.drives}
    if (kind, controller, place) in taken:
        raise Refusal("InvalidOperation", f"'{vm.name}': there is a drive at {kind} {controller}:{place} already.")
    drive = Drive(str(uuid.uuid4()).upper(), dvd, kind, controller, place, path)
    vm.config.drives.append(drive)
    return drive


def _add(call: Call, *, dvd: bool) -> Answer:
    things = []
    path = call.get("Path") or None
    if path is not None and not call.world.file(path).is_file():
        raise no_file(path)
    for vm in _machines(call):
        kind = str(call.get("ControllerType") or ("SCSI" if vm.generation == 2 else "IDE")).upper()
        if kind == "IDE" and vm.generation == 2:
            raise Refusal("NotSupported", f"'{vm.name}' is of generation 2, which has no IDE.")
        with vm.lock:
            if vm.state == "Saved" or (kind == "IDE" and vm.state != "Off"):
                raise wrong_state("Adding a drive to", vm.name, vm.id)
            number = _controller(call, vm, kind)
            where = call.get("ControllerLocation")
            made: list[Drive] = []
            _change(
                call.world,
                vm,
                lambda vm=vm, kind=kind, number=number, where=where, made=made: made.append(
                    add(vm, kind, number, None if where is None else int(where), path, dvd=dvd)
                ),
            )
            things.append(vm.drive_thing(made[0]))
    return call.passed(things)


def _controller(call: Call, vm: Vm, kind: str) -> int:
    if "VMDriveController" in call:
        return int(call.many("VMDriveController")[0].key.rpartition("/")[2])
    if "ControllerNumber" in call:
        number = int(call.get("ControllerNumber"))
        if kind == "SCSI" and number >= vm.config.scsi:
            raise Refusal("ObjectNotFound", f"'{vm.name}' has no SCSI controller {number}.")
        return number
    if kind == "IDE":
        return next((at for at in (0, 1) if vm.free_location("IDE", at) is not None), 0)
    if not vm.config.scsi:
        raise Refusal("ObjectNotFound", f"'{vm.name}' has no SCSI controller.")
    return 0


def _machines(call: Call) -> list[Vm]:
    if "VMDriveController" in call:
        return [call.world.vm(thing.key) for thing in call.many("VMDriveController")]
    return call.machines()


def _remove(call: Call, *, dvd: bool) -> Answer:
    found = _chosen(call, dvd=dvd)
    for vm, drive in found:
        with vm.lock:
            if vm.state == "Saved" or (drive.controller_type == "IDE" and vm.state != "Off"):
                raise wrong_state("Removing a drive from", vm.name, vm.id)
            _change(call.world, vm, lambda vm=vm, drive=drive: vm.config.drives.remove(drive))
    return call.passed(vm.drive_thing(drive) for vm, drive in found)


def _change(world: World, vm: Vm, change: Any) -> None:
    """Change the drives, here and in the engine, or in neither."""
    before = vm.snapshot_config().drives
    change()
    try:
        if vm.on:
            power.settle(world, vm)
    except Refusal:
        vm.config.drives = before
        raise


def _chosen(call: Call, *, dvd: bool) -> list[tuple[Vm, Drive]]:
    own = "VMDvdDrive" if dvd else "VMHardDiskDrive"
    if own in call:
        return [call.world.drive(thing.key) for thing in call.many(own)]
    wanted = {
        "controller_type": str(call.get("ControllerType") or "").upper(),
        "controller": call.get("ControllerNumber"),
        "location": call.get("ControllerLocation"),
    }
    found = []
    for vm in _machines(call):
        for drive in vm.config.drives:
            asked = {key: value for key, value in wanted.items() if value not in {None, ""}}
            if drive.dvd == dvd and all(str(getattr(drive, key)) == str(value) for key, value in asked.items()):
                found.append((vm, drive))
    return found
