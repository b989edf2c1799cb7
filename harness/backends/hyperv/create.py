"""Making a machine: off, cold, its system disk a differencing one on the image. One request for all cmdlets."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from harness.backends.hyperv import marks, nics, upload
from harness.backends.hyperv.access import QUIET, HostAccess
from harness.backends.hyperv.base import VM
from harness.backends.hyperv.disks import attached, disk_file
from harness.backends.hyperv.machine import HypervMachine, erase, machine
from harness.backends.hyperv.marks import Mark
from harness.backends.hyperv.steps import Ref, Step, Value, beginning
from harness.backends.model import DeviceKind, Firmware, MachineSpec, ResourceKind
from harness.backends.protocol import Refused
from harness.core import Deadline, InteropError

SYSTEM, SEED = "system.vhdx", "seed.iso"
_LONGEST = 100  # the name of a machine, in characters: the host refuses longer ones
_DVD = {Firmware.BIOS: (1, 0), Firmware.UEFI: (0, 63)}
"""Controller and location of the seed: IDE in generation 1, the last place of SCSI in generation 2."""


def create(host: HostAccess, spec: MachineSpec, deadline: Deadline) -> HypervMachine:
    """See :meth:`harness.backends.protocol.Hypervisor.create`."""
    host.ledger.check()
    folder = marks.name(spec.name, spec.owner)
    if len(folder) > _LONGEST:
        raise Refused(
            f"the name {folder!r} is longer than Hyper-V takes", host=host.name, operation="create", hint="shorten it"
        )
    if spec.shape.firmware is Firmware.UEFI and any(nic.kind is DeviceKind.EMULATED for nic in spec.nics):
        raise Refused("generation 2 has no legacy NICs", host=host.name, operation="create")
    mark = Mark(spec.owner, spec, folder, f"interop-{uuid.uuid4()}")
    with host.ledger.creating(ResourceKind.MACHINE, folder) as creation:
        _take(host, spec, folder, deadline)
        try:
            identity = _make(host, mark, deadline)
        except InteropError:
            with contextlib.suppress(InteropError):  # the first error is the one to tell; the reaper knows of the rest
                erase(host, None, folder, Deadline.after(30))
            raise
        creation.made(identity)
    return machine(host, identity, mark)


def _take(host: HostAccess, spec: MachineSpec, folder: str, deadline: Deadline) -> None:
    """Make the folder. Whose name is taken gets no further: what is there is another's, and stays.

    To Hyper-V names are no more than words, and the expiry of a run that goes on moves: so it is looked whether there
    is a machine of the same name and run.
    """
    taken = Step("Get-VM", where=(("Name", beginning(f"{spec.name}~{spec.owner.run}~")),), get=("Name",))
    made = Step("New-Item", {"Path": host.folder(folder), "ItemType": "Directory"})
    if host.agents.run("create", [taken, made], deadline)[0]:
        host.agents.run("create", [Step("Remove-Item", {"LiteralPath": host.folder(folder)})], deadline)
        raise Refused(f"there is a machine {spec.name} already", host=host.name, operation="create")


def _make(host: HostAccess, mark: Mark, deadline: Deadline) -> str:
    if mark.spec.seed is not None:
        upload.send(host, mark.spec.seed, host.file(mark.folder, SEED), deadline)
    answer = host.agents.run("create", list(steps(host, mark)), deadline)
    return next(str(row["Id"]).lower() for rows in answer for row in rows if "Id" in row)


def steps(host: HostAccess, mark: Mark) -> Iterator[Step]:
    """All that ``create`` asks of the host, once folder and seed are there."""
    spec, folder = mark.spec, mark.folder
    system = host.file(folder, SYSTEM)
    bios = spec.shape.firmware is Firmware.BIOS
    yield Step("New-VHD", {"Path": system, "ParentPath": spec.image.handle, "Differencing": True, **QUIET})
    yield Step(
        "New-VM",
        {
            "Name": folder,
            "Generation": 1 if bios else 2,
            "MemoryStartupBytes": int(spec.shape.memory),
            "NoVHD": True,
            "Path": host.folder(folder),
            **QUIET,
        },
        name=VM.name,
        get=("Id",),
    )
    yield Step(
        "Set-VM",
        {
            "VM": VM,
            "Notes": marks.written(mark),
            "StaticMemory": True,
            "ProcessorCount": spec.shape.vcpus,
            "AutomaticCheckpointsEnabled": False,  # client Windows makes some by itself
            "CheckpointType": "Standard",
            "AutomaticStartAction": "Nothing",
            "AutomaticStopAction": "TurnOff",  # saving needs a file as large as the memory
            **QUIET,
        },
    )
    # New-VM adds a NIC, and in generation 1 a DVD drive, whether asked or not.
    yield Step("Get-VMNetworkAdapter", {"VM": VM}, name="unasked")
    yield Step("Remove-VMNetworkAdapter", {"VMNetworkAdapter": Ref("unasked"), **QUIET}, when="unasked")
    yield Step("Get-VMDvdDrive", {"VM": VM}, name="dvd")
    yield Step("Remove-VMDvdDrive", {"VMDvdDrive": Ref("dvd"), **QUIET}, when="dvd")
    yield Step(
        "Add-VMHardDiskDrive",
        {
            "VM": VM,
            "ControllerType": "IDE" if bios else "SCSI",
            "ControllerNumber": 0,
            "ControllerLocation": 0,
            "Path": system,
            "Passthru": True,
            **QUIET,
        },
        name="system",
    )
    if spec.seed is not None:
        number, location = _DVD[spec.shape.firmware]
        args: dict[str, Value] = {"VM": VM, "ControllerNumber": number, "ControllerLocation": location}
        yield Step("Add-VMDvdDrive", {**args, "Path": host.file(folder, SEED), **QUIET})
    for disk in spec.disks:
        yield from attached(host.file(folder, disk_file(disk.serial)), disk.size)
    if bios:
        order = ["IDE", "CD", "LegacyNetworkAdapter", "Floppy"]
        yield Step("Set-VMBios", {"VM": VM, "StartupOrder": order, **QUIET})
    else:
        yield Step("Set-VMFirmware", {"VM": VM, "EnableSecureBoot": "Off", "FirstBootDevice": Ref("system"), **QUIET})
    for at, nic in enumerate(spec.nics):
        yield from nics.added(nic, f"nic{at}")
    yield Step("Set-VMComPort", {"VM": VM, "Number": 1, "Path": f"\\\\.\\pipe\\{mark.pipe}", **QUIET})
