"""Making a machine: a linked clone of the image's snapshot, configured in the same request."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from harness.backends.model import Firmware, MachineSpec
from harness.backends.protocol import Refused
from harness.backends.views import ResourceKind
from harness.backends.vsphere import alone, collector, devices, marks, networks, notes, placement, questions, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.checkpoints import TREE, snapshots_in
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.console import LOG
from harness.backends.vsphere.devices import DEVICES
from harness.backends.vsphere.machine import VsphereMachine, erase
from harness.backends.vsphere.marks import Mark
from harness.backends.vsphere.refs import Ref
from harness.core import Deadline, InteropError, LabError

BASE = "base"
"""The snapshot of a published image that clones stand on."""
SEED = "seed.iso"

_GRAIN = 4
_SETTINGS = {
    "disk.EnableUUID": "TRUE",  # guests see a disk's UUID as its serial number
    "answer.msg.serial.file.open": "Replace",  # each power-on begins the console's file anew, and asks nobody
}


@dataclass(frozen=True, slots=True)
class Image:
    """What of a published image a clone needs to know."""

    ref: Ref
    snapshot: Ref
    hardware: tuple[Any, ...]


def create(host: HostAccess, spec: MachineSpec, deadline: Deadline) -> VsphereMachine:
    """Files first, in a folder whose name is their mark; then the clone, off and cold.

    Raises:
        Refused: the shape asks for what vSphere has not got, or the host said no.
        LabError: the host failed; what was made is taken away again, as far as that worked.
    """
    host.ledger.check()
    _refuse_impossible(spec, host.name)
    image = _image(host, spec, deadline)
    files = f"{host.root}/{marks.folder_name(spec.name, spec.owner)}"
    mark = Mark(spec.owner, spec, files)
    config = _config(host, mark, image, deadline)
    with host.ledger.creating(ResourceKind.MACHINE, spec.name) as creation:
        ref: Ref | None = None
        try:
            if spec.seed:
                host.store.put(spec.seed, f"{files}/{SEED}", deadline)
            ref = _make(host, image, spec, config, deadline)
            _complete(host, ref, config, deadline)
            placement.pin(host, ref, deadline)
        except InteropError:
            _undo(host, ref, files)
            raise
        creation.made(ref.id)
    return VsphereMachine(host, ref, mark)


def _refuse_impossible(spec: MachineSpec, host: str) -> None:
    shape = spec.shape
    message = None
    if shape.topology and shape.topology.threads > 1:
        message = "a virtual core has one thread"
    elif shape.memory.mib % _GRAIN:
        message = f"{shape.memory}; memory is a multiple of {_GRAIN} MiB"
    elif shape.vcpus % (shape.numa_nodes or 1):
        message = f"{shape.vcpus} vCPUs cannot be shared out evenly among {shape.numa_nodes} NUMA nodes"
    elif shape.topology and shape.vcpus % shape.topology.cores:
        message = f"{shape.vcpus} vCPUs cannot be grouped by {shape.topology.cores} cores"
    if message:
        raise Refused(message, host=host, operation="create")
    for disk in spec.disks:
        devices.sectors_are_usual(disk, host, "create")


def _image(host: HostAccess, spec: MachineSpec, deadline: Deadline) -> Image:
    ref = Ref("VirtualMachine", spec.image.handle)
    values = collector.read_one(host.session, ref, TREE, DEVICES, deadline=deadline, operation="create")
    base = next((one.ref for one in snapshots_in(values.get(TREE)) if one.name == BASE), None)
    if base is None:
        raise LabError(
            f"the image {spec.image.digest[:12]} has lost its snapshot {BASE!r}",
            host=host.name,
            operation="create",
            hint="somebody changed it: `interop reap` removes it, and the next run publishes it again",
        )
    return Image(ref, base, tuple(values.get(DEVICES) or ()))


def _config(host: HostAccess, mark: Mark, image: Image, deadline: Deadline) -> dict[str, Any]:
    """The whole configuration, as arguments of ``VirtualMachineConfigSpec``."""
    spec = mark.spec
    shape = spec.shape
    changes, options = _devices(host, mark, image, deadline)
    if shape.numa_nodes:
        options += notes.numa(shape.vcpus, shape.numa_nodes)
    config: dict[str, Any] = {
        "annotation": marks.written(mark),
        "numCPUs": shape.vcpus,
        # One core a socket, or vCPUs could only be added by the socketful.
        "numCoresPerSocket": shape.topology.cores if shape.topology else 1,
        "memoryMB": shape.memory.mib,
        "firmware": "efi" if shape.firmware is Firmware.UEFI else "bios",
        "cpuHotAddEnabled": bool(shape.max_vcpus and shape.max_vcpus > shape.vcpus),
        "memoryHotAddEnabled": bool(shape.max_memory and shape.max_memory > shape.memory),
        "extraConfig": options,
        "deviceChange": changes,
    }
    if shape.firmware is Firmware.UEFI:
        config["bootOptions"] = vim.vm.BootOptions(efiSecureBootEnabled=False)
    return config


def _devices(host: HostAccess, mark: Mark, image: Image, deadline: Deadline) -> tuple[list[Any], list[Any]]:
    spec, hardware = mark.spec, image.hardware
    changes: list[Any] = []
    options = [notes.option(key, value) for key, value in _SETTINGS.items()]
    keys = iter(range(-101, -200, -1))
    if not host.alone:  # what the image's description brought along is not what was asked for
        changes += [devices.removed(card) for card in devices.cards(hardware)]
    groups = host.networks(deadline) if spec.nics else {}
    for nic in spec.nics:
        group = networks.choose(nic.network, groups, host.name, "create")
        changes.append(devices.added(devices.nic(nic, group, next(keys))))
    controller = devices.scsi(hardware)
    if controller is None:
        raise LabError("the published image has no SCSI controller", host=host.name, operation="create")
    taken = list(hardware)
    for disk in spec.disks:
        unit = devices.free_unit(taken, controller)
        made = devices.disk(disk.size, controller.key, unit, next(keys))
        taken.append(made)
        changes.append(devices.added(made, create=True))
        options.append(notes.disk_note(unit, disk.serial))
    if spec.seed:
        changes += _drive(f"[{host.store.name}] {mark.files}/{SEED}", hardware, keys)
    file = f"[{host.store.name}] {mark.files}/{LOG}"
    port = (
        devices.serial_port(_free_port(host, deadline), next(keys)) if host.ports else devices.serial(file, next(keys))
    )
    changes.append(devices.added(port))
    return changes, options


def _free_port(host: HostAccess, deadline: Deadline) -> int:
    """One that no machine of our folder on this ESXi has; by chance, for another controller may choose right now."""
    found = collector.children(
        host.session, host.place.folder, "VirtualMachine", (DEVICES, "runtime.host"), deadline, operation="create"
    )
    here = [values for values in found.values() if values.get("runtime.host") == host.place.host]
    taken = {devices.listens(values.get(DEVICES) or ()) for values in here}
    free = [port for port in host.ports if port not in taken]
    if not free:
        raise LabError(
            f"all {len(host.ports)} ports for serial consoles are taken",
            host=host.name,
            operation="create",
            hint="give `console:` a wider range; `interop reap` removes leftovers",
        )
    return secrets.choice(free)


def _drive(iso: str, hardware: Sequence[Any], keys: Any) -> list[Any]:
    controller = devices.ide(hardware)
    if controller is not None:
        return [devices.added(devices.drive(iso, controller.key, 0, next(keys)))]
    sata = devices.ahci(next(keys))
    return [devices.added(sata), devices.added(devices.drive(iso, sata.key, 0, next(keys)))]


def _make(host: HostAccess, image: Image, spec: MachineSpec, config: dict[str, Any], deadline: Deadline) -> Ref:
    if host.alone:
        return alone.build(host, image.ref, image.snapshot, config | {"name": spec.name}, deadline)
    with host.folders.making(host.session, host.place.folder, spec.owner, deadline) as folder:
        return _clone(host, image, (folder, spec.name), config, deadline)


def _clone(host: HostAccess, image: Image, where: tuple[Ref, str], config: dict[str, Any], deadline: Deadline) -> Ref:
    """``where``: the folder, and the name in it."""
    place = host.place
    location = vim.vm.RelocateSpec(
        datastore=place.datastore.managed,
        diskMoveType="createNewChildDiskBacking",
        host=place.host.managed,
        pool=place.pool.managed,
    )
    asked = vim.vm.CloneSpec(
        location=location,
        config=vim.vm.ConfigSpec(**config),
        snapshot=image.snapshot.managed,
        memory=False,
        powerOn=False,
        template=False,
    )
    made: Ref = tasks.run(
        host.session,
        "create",
        image.ref,
        "CloneVM_Task",
        deadline,
        *where,
        asked,
        machine=image.ref,  # the new one is not known before the end
        question=questions.answering(host.session, image.ref, "create", deadline),
        patient=True,
    )
    return made


def _complete(host: HostAccess, machine: Ref, config: dict[str, Any], deadline: Deadline) -> None:
    """Ask again for what the clone did not take over: not every host honours the whole specification in a clone."""
    paths = {
        "annotation": "config.annotation",
        "numCPUs": "config.hardware.numCPU",
        "numCoresPerSocket": "config.hardware.numCoresPerSocket",
        "memoryMB": "config.hardware.memoryMB",
        "firmware": "config.firmware",
        "cpuHotAddEnabled": "config.cpuHotAddEnabled",
        "memoryHotAddEnabled": "config.memoryHotAddEnabled",
    }
    values = collector.read_one(
        host.session, machine, *paths.values(), notes.EXTRA, deadline=deadline, operation="create"
    )
    missing = {key: config[key] for key, path in paths.items() if _differs(values, path, config[key])}
    kept = notes.noted(values.get(notes.EXTRA))
    options = [one for one in config["extraConfig"] if kept.get(one.key) != one.value]
    if options:
        missing["extraConfig"] = options
    if missing:
        spec = vim.vm.ConfigSpec(**missing)
        answering = questions.answering(host.session, machine, "create", deadline)
        tasks.run(
            host.session,
            "create",
            machine,
            "ReconfigVM_Task",
            deadline,
            spec,
            machine=machine,
            question=answering,
            patient=True,
        )


def _differs(values: Values, path: str, wanted: Any) -> bool:
    return bool((values.get(path) or type(wanted)()) != wanted)


def _undo(host: HostAccess, machine: Ref | None, files: str) -> None:
    """Best effort: the journal has the intent, and the mark is on whatever stays."""
    deadline = Deadline.after(60)
    with contextlib.suppress(InteropError):
        if machine is not None:
            erase(host, machine, None, deadline)
    with contextlib.suppress(InteropError):
        host.store.delete(files, deadline)
