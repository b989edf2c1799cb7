"""Making a machine: off, cold, its system disk a differencing one on the image. One request for all cmdlets."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from harness.backends.hyperv import checkpoints, marks, nics, upload
from harness.backends.hyperv.access import QUIET, HostAccess
from harness.backends.hyperv.base import VM
from harness.backends.hyperv.disks import SYSTEM, attached, disk_file
from harness.backends.hyperv.errors import failed_step
from harness.backends.hyperv.machine import HypervMachine, erase, machine
from harness.backends.hyperv.marks import Mark
from harness.backends.hyperv.steps import Ref, Step, Value, beginning, exactly
from harness.backends.model import DeviceKind, Firmware, MachineSpec
from harness.backends.protocol import Refused
from harness.backends.views import ResourceKind
from harness.core import Deadline, InteropError

SEED = "seed.iso"
_OURS = "ours"
_CLEANING_SECONDS = 30.0
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
    if spec.shape.vcpus % (spec.shape.numa_nodes or 1):
        message = f"{spec.shape.vcpus} vCPUs cannot be shared out evenly among {spec.shape.numa_nodes} NUMA nodes"
        raise Refused(message, host=host.name, operation="create")
    mark = Mark(spec.owner, spec, folder, f"interop-{uuid.uuid4()}")
    claim = list(claimed(host, mark))
    make = [step if step.when else step.only(_OURS) for step in steps(host, mark)]
    with host.ledger.creating(ResourceKind.MACHINE, folder) as creation:
        try:
            answer = host.agents.run("create", [*claim, *make], deadline)
        except InteropError as error:
            with contextlib.suppress(InteropError):  # the first error is the one to tell; the reaper knows the rest
                if _began(host, mark, error, len(claim)):
                    erase(host, None, folder, Deadline.after(_CLEANING_SECONDS))
            raise
        if answer[0]:
            raise Refused(f"there is a machine {spec.name} already", host=host.name, operation="create")
        identity = next(str(row["Id"]).lower() for rows in answer for row in rows if "Id" in row)
        creation.made(identity)
    return machine(host, identity, mark)


def _began(host: HostAccess, mark: Mark, error: InteropError, claim: int) -> bool:
    """Whether what has this name on the host is of this creation: what is another's stays."""
    step = failed_step(error)
    if step is not None:
        return step >= claim
    find = Step("Get-VM", where=(("Name", exactly(mark.folder)),), get=("Notes",))
    found = host.agents.run("create", [find], Deadline.after(_CLEANING_SECONDS), repeatable=True)[0]
    return all(mark.pipe in (row["Notes"] or mark.pipe) for row in found)


def claimed(host: HostAccess, mark: Mark) -> Iterator[Step]:
    """Look whether the name is taken, and make the folder: all else hangs on its being ours.

    To Hyper-V names are no more than words, and the expiry of a run that goes on moves: so it is looked whether there
    is a machine of the same name and run.
    """
    same = beginning(f"{mark.spec.name}~{mark.spec.owner.run}~")
    yield Step("Get-VM", where=(("Name", same),), name="taken", get=("Name",))
    folder: dict[str, Value] = {"Path": host.folder(mark.folder), "ItemType": "Directory"}
    yield Step("New-Item", folder, name=_OURS, unless="taken")


def steps(host: HostAccess, mark: Mark) -> Iterator[Step]:
    """All that ``create`` asks of the host, once the folder is there. The seed is small: it goes along."""
    spec, folder = mark.spec, mark.folder
    if spec.seed is not None:
        yield from upload.pieces(host, spec.seed, host.file(folder, SEED))
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
            "CheckpointType": checkpoints.TYPES[host.settings.checkpoints],
            "AutomaticStartAction": "Nothing",
            "AutomaticStopAction": "TurnOff",  # saving needs a file as large as the memory
            **QUIET,
        },
    )
    if spec.shape.numa_nodes:
        most = spec.shape.vcpus // spec.shape.numa_nodes
        yield Step("Set-VMProcessor", {"VM": VM, "MaximumCountPerNumaNode": most, **QUIET})
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
        yield from attached(host.file(folder, disk_file(disk.serial)), disk)
    if bios:
        order = ["IDE", "CD", "LegacyNetworkAdapter", "Floppy"]
        yield Step("Set-VMBios", {"VM": VM, "StartupOrder": order, **QUIET})
    else:
        yield Step("Set-VMFirmware", {"VM": VM, "EnableSecureBoot": "Off", "FirstBootDevice": Ref("system"), **QUIET})
    for at, nic in enumerate(spec.nics):
        yield from nics.added(nic, f"nic{at}")
    yield Step("Set-VMComPort", {"VM": VM, "Number": 1, "Path": f"\\\\.\\pipe\\{mark.pipe}", **QUIET})
