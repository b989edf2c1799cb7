"""Data disks that come, go and grow. A VHDX has no serial number to choose: its file is called after it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.backends.hyperv.access import NO_FILE, QUIET
from harness.backends.hyperv.base import OFF, RUNNING, VM, MachineBase
from harness.backends.hyperv.steps import Ref, Row, Step, Value
from harness.backends.model import SECTOR, DiskSpec
from harness.backends.views import DiskView
from harness.core import Deadline, Size

MODEL, SYSTEM = "vhdx", "system.vhdx"
_SERIAL = re.compile(r"[A-Za-z0-9_-]{1,20}")
# While a machine has checkpoints, it writes to differencing disks called NAME_GUID.avhdx.
_FILE = re.compile(r"(?:.*[\\/])?disk-(?P<serial>[A-Za-z0-9_-]{1,20}?)(?:_[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27})?\.a?vhdx")
_SYSTEM = re.compile(r"(?:.*[\\/])?system(?:_[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27})?\.a?vhdx")
_DRIVE = "drive"
_LIST = ("Path", "ControllerType", "ControllerLocation")


class Disks(MachineBase):
    """The verbs of :class:`DiskPlug`, :class:`DiskResize` and :class:`DiskNames`."""

    def attach_disk(self, disk: DiskSpec, deadline: Deadline) -> DiskView:
        """A dynamic VHDX beside the others, on the SCSI controller that every machine has."""
        with self._lock:
            path = self._file(self._sayable(disk.serial))
            # A disk that a checkpoint made differencing still stands on the file of its name.
            _, answer = self._act(
                "attach_disk",
                deadline,
                (RUNNING, OFF),
                Step("Test-Path", {"LiteralPath": path}, name="free", get=(".",), where=((".", "^False$"),)),
                *(step.only("free") for step in attached(path, disk)),
            )
            if not answer[0]:
                raise self._refused(f"a disk {disk.serial!r} is there already", "attach_disk")
            return DiskView(disk.serial, disk.size, MODEL, disk.sector)

    def detach_disk(self, serial: str, deadline: Deadline) -> None:
        """The file goes along, unless a checkpoint still stands on it: then it goes with the machine."""
        with self._lock:
            # A checkpoint that has this disk made the machine write to an AVHDX above it.
            own = ((".", r"\.vhdx$"),)
            self._act(
                "detach_disk",
                deadline,
                (RUNNING, OFF),
                self._drive(serial),
                Step("Write-Output", {"InputObject": Ref(_DRIVE, "Path")}, name="file", where=own, when=_DRIVE),
                Step("Remove-VMHardDiskDrive", {"VMHardDiskDrive": Ref(_DRIVE), **QUIET}, when=_DRIVE),
                Step("Remove-Item", {"LiteralPath": Ref("file"), "Force": True}, when="file", allow=NO_FILE),
            )

    def resize_disk(self, serial: str, size: Size, deadline: Deadline) -> None:
        """While the machine runs as well: it is on the SCSI controller."""
        with self._lock:
            file: dict[str, Value] = {"Path": Ref(_DRIVE, "Path")}
            _, answer = self._act(
                "resize_disk",
                deadline,
                (RUNNING, OFF),
                self._drive(serial, "Path"),
                Step("Get-VHD", file, get=("Size",), when=_DRIVE),
                Step("Get-VHD", file, name="small", where=(("Size", int(size)),), when=_DRIVE),
                Step("Resize-VHD", {**file, "SizeBytes": int(size), **QUIET}, when="small"),
                repeatable=True,
            )
            if not answer[0]:
                raise self._refused(f"there is no disk {serial!r}", "resize_disk")
            if size < (now := Size(int(answer[1][0]["Size"]))):
                raise self._refused(f"{serial} has {now}; a disk does not shrink to {size}", "resize_disk")

    def disk_names(self, deadline: Deadline) -> Mapping[str, str]:
        """By the VHDX's identifier, which the guest reads as part of the disk's page 0x83, the serial asked for."""
        found = self._ask("disk_names", deadline, files_of(self._id))
        return {
            str(row["DiskIdentifier"]).replace("-", "").lower(): serial
            for row in found[1]
            if (serial := serial_of(str(row["Path"])))
        }

    def _sayable(self, serial: str) -> str:
        if not _SERIAL.fullmatch(serial):
            raise self._refused(f"{serial!r} cannot be a disk's serial: letters, digits, - _", "disk")
        return disk_file(serial)

    def _drive(self, serial: str, *get: str) -> Step:
        self._sayable(serial)
        pattern = rf"[\\/]disk-{serial}(_[0-9A-Fa-f]{{8}}-[0-9A-Fa-f-]{{27}})?\.a?vhdx$"
        return Step("Get-VMHardDiskDrive", {"VM": VM}, name=_DRIVE, get=get, where=(("Path", pattern),))


def drives() -> Step:
    """All disks of the step ``vm``, as they are plugged in."""
    return Step("Get-VMHardDiskDrive", {"VM": VM}, get=_LIST)


def files_of(machine: str) -> Step:
    """The files of all disks of a machine."""
    return Step(
        "Get-VHD", {"VMId": machine}, get=("Path", "Size", "LogicalSectorSize", "DiskIdentifier", "ParentPath?")
    )


def attached(path: str, disk: DiskSpec) -> tuple[Step, Step]:
    """Make a data disk and plug it in."""
    # A VHDX has logical sectors of 512 bytes unless asked; none can be larger than its physical ones.
    names = ("LogicalSectorSizeBytes", "PhysicalSectorSizeBytes")
    sectors: dict[str, Value] = {} if disk.sector == SECTOR else dict.fromkeys(names, disk.sector)
    return (
        Step("New-VHD", {"Path": path, "SizeBytes": int(disk.size), "Dynamic": True, **sectors, **QUIET}),
        Step("Add-VMHardDiskDrive", {"VM": VM, "ControllerType": "SCSI", "ControllerNumber": 0, "Path": path, **QUIET}),
    )


def disk_file(serial: str) -> str:
    """The name of a data disk's file."""
    return f"disk-{serial}.vhdx"


def serial_of(path: str) -> str | None:
    """The serial in the path of a data disk's file; None for any other file."""
    found = _FILE.fullmatch(path)
    return found["serial"] if found else None


def system_controller(plugged: list[Row]) -> str:
    """The kind of controller that the system disk is on, among disks that :func:`drives` told of."""
    return next((str(row["ControllerType"]) for row in plugged if _SYSTEM.fullmatch(str(row["Path"]))), "")


def views(files: list[Row]) -> tuple[DiskView, ...]:
    """The data disks among files that ``Get-VHD`` told of."""
    return tuple(
        DiskView(serial, Size(int(row["Size"])), MODEL, int(row["LogicalSectorSize"]))
        for row in files
        if (serial := serial_of(str(row["Path"])))
    )
