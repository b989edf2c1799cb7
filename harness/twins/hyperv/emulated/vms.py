"""Machines: to list, make, change, remove, and switch them."""

from __future__ import annotations

import ntpath
import uuid
from pathlib import PurePosixPath
from typing import Any

from harness.twins.engine import EngineError, GuestSilent
from harness.twins.hyperv.emulated import checkpoints, drives, power
from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet
from harness.twins.hyperv.emulated.configuration import GUEST_SERVICE, MIB, Config, Nic
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.refusals import Refusal, no_file, wrong_state
from harness.twins.hyperv.emulated.vhds import create


@cmdlet("Get-VM")
def get_vm(call: Call) -> Answer:
    """All machines, or those of a name or id."""
    return [vm.thing() for vm in call.machines()]


@cmdlet("New-VM")
def new_vm(call: Call) -> Answer:
    """Make one: with a NIC, and what goes with its generation."""
    world = call.world
    generation = int(call.get("Generation", 1))
    memory = int(call.get("MemoryStartupBytes", 512 * MIB))
    _check_memory(memory)
    switch = world.switch(call.get("SwitchName")).name if call.get("SwitchName") else None
    disk = call.get("VHDPath")
    if disk is not None and not world.file(disk).is_file():
        raise no_file(disk)
    if call.get("NewVHDPath"):
        disk = call.get("NewVHDPath")
        create(world, disk, size=int(call.get("NewVHDSizeBytes")))
    name = str(call.get("Name", "New Virtual Machine"))
    home = str(call.get("Path") or world.settings.folder / "machines")
    vm = Vm(Config(name, memory=memory, memory_maximum=max(memory, 1 << 40)), generation, _below(home, name))
    vm.config.automatic_checkpoints = False  # on by default on client Windows alone
    vm.config.nics.append(
        Nic(str(uuid.uuid4()).upper(), "Network Adapter", "000000000000", dynamic=True, switch=switch)
    )
    vm.config.scsi = 1
    if generation == 1:
        drives.add(vm, "IDE", 1, 0, None, dvd=True)
    if disk is not None:
        drives.add(vm, "SCSI" if generation == 2 else "IDE", 0, 0, disk, dvd=False)
    if str(call.get("BootDevice", "")).upper() == "CD" and generation == 2:
        drives.add(vm, "SCSI", 0, None, None, dvd=True)
    with world.lock:
        world.vms[vm.id] = vm
    world.events.worker(13002, vm, "was created")
    return [vm.thing()]


@cmdlet("Set-VM")
def set_vm(call: Call) -> Answer:
    """Change what may be changed in the present state."""
    machines = call.machines()
    for vm in machines:
        with vm.lock:
            _set(call, vm)
    return call.passed(vm.thing() for vm in machines)


_COLD = ("ProcessorCount", "MemoryStartupBytes", "DynamicMemory", "StaticMemory", "MemoryMinimumBytes")
_PLAIN = {
    "Notes": ("notes", str),
    "CheckpointType": ("checkpoint_type", str),
    "AutomaticCheckpointsEnabled": ("automatic_checkpoints", bool),
    "AutomaticStartAction": ("start_action", str),
    "AutomaticStartDelay": ("start_delay", int),
    "AutomaticStopAction": ("stop_action", str),
    "MemoryMinimumBytes": ("memory_minimum", int),
    "MemoryMaximumBytes": ("memory_maximum", int),
    "NewVMName": ("name", str),
}


def _set(call: Call, vm: Vm) -> None:
    if call.on("DynamicMemory") and call.on("StaticMemory"):
        raise Refusal("InvalidParameter", "DynamicMemory and StaticMemory exclude each other.")
    cold = [name for name in _COLD if name in call]
    # Static memory may be resized while it runs (2016 and later); everything else here may not.
    if cold and vm.state != "Off" and not (cold == ["MemoryStartupBytes"] and not vm.config.dynamic):
        raise wrong_state("Modifying", vm.name, vm.id)
    config = vm.config
    for name, (attribute, kind) in _PLAIN.items():
        if name in call:
            setattr(config, attribute, kind(call.get(name)))
    if "ProcessorCount" in call:
        config.vcpus = processors(call, int(call.get("ProcessorCount")))
    if "MemoryStartupBytes" in call:
        resize(call, vm, int(call.get("MemoryStartupBytes")))
    if call.on("DynamicMemory") or call.on("StaticMemory"):
        config.dynamic = call.on("DynamicMemory")


def processors(call: Call, count: int) -> int:
    """How many, if the host has so many.

    Raises:
        Refusal: it has not.
    """
    if not 1 <= count <= max(64, call.world.settings.cpus):
        raise Refusal("InvalidParameter", f"{count} is no number of virtual processors that this host can give.")
    return count


def resize(call: Call, vm: Vm, memory: int) -> None:
    """Another amount of memory, at once where the machine runs.

    Raises:
        Refusal: not that much, or not while it runs.
    """
    _check_memory(memory)
    before, vm.config.memory = vm.config.memory, memory
    if vm.state == "Off":
        return
    if memory < before:
        vm.config.memory = before
        raise Refusal("OperationFailed", f"'{vm.name}': the guest does not give memory back. (0x80070490)")
    try:
        power.settle(call.world, vm)
    except Refusal:
        vm.config.memory = before
        raise


@cmdlet("Rename-VM")
def rename_vm(call: Call) -> Answer:
    """Another name, which others may have, too."""
    machines = call.machines()
    for vm in machines:
        vm.config.name = str(call.get("NewName"))
    return call.passed(vm.thing() for vm in machines)


@cmdlet("Remove-VM")
def remove_vm(call: Call) -> Answer:
    """Remove machines; their disks stay."""
    machines = call.machines()
    for vm in machines:
        with vm.lock:
            if vm.state not in {"Off", "Saved"} or vm.merging():
                raise wrong_state("Removing", vm.name, vm.id)
            if vm.machine is not None:
                with power.engine():
                    vm.machine.destroy()
                vm.machine = None
            vm.gone = True
            vm.checkpoints.clear()
            vm.merge()
            with call.world.lock:
                call.world.vms.pop(vm.id, None)
        call.world.events.worker(13003, vm, "was removed")
    return call.passed(vm.thing() for vm in machines)


@cmdlet("Start-VM")
def start_vm(call: Call) -> Answer:
    """Start them."""
    return _each(call, _start)


def _start(call: Call, vm: Vm) -> None:
    if vm.state == "Off" and vm.config.automatic_checkpoints and not vm.checkpoints:
        checkpoints.take(call.world, vm, f"Automatic Checkpoint - {vm.name}", automatic=True)
    power.start(call.world, vm)


@cmdlet("Stop-VM")
def stop_vm(call: Call) -> Answer:
    """Turn them off, save them, or ask their guests and wait."""
    return _each(call, _stop)


def _stop(call: Call, vm: Vm) -> None:
    if call.on("Save"):
        power.save(call.world, vm)
        return
    if call.on("TurnOff"):
        power.turn_off(call.world, vm, call.planned)
    else:
        power.shut_down(call.world, vm, call.planned, force=call.on("Force"))
    for checkpoint in [each for each in vm.checkpoints if each.automatic and each.id == vm.parent]:
        checkpoints.remove(call.world, vm, checkpoint)


@cmdlet("Save-VM")
def save_vm(call: Call) -> Answer:
    """Put their memory on disk."""
    return _each(call, lambda call, vm: power.save(call.world, vm))


@cmdlet("Suspend-VM")
def suspend_vm(call: Call) -> Answer:
    """Pause them."""
    return _each(call, lambda call, vm: power.suspend(call.world, vm))


@cmdlet("Resume-VM")
def resume_vm(call: Call) -> Answer:
    """Let them go on."""
    return _each(call, lambda call, vm: power.resume(call.world, vm))


@cmdlet("Restart-VM")
def restart_vm(call: Call) -> Answer:
    """Reset them."""
    return _each(call, lambda call, vm: power.reset(call.world, vm))


@cmdlet("Remove-VMSavedState")
def remove_saved_state(call: Call) -> Answer:
    """Forget their memory: they are off."""
    for vm in call.machines():
        if vm.state == "Saved":
            power.turn_off(call.world, vm)
    return []


@cmdlet("Debug-VM")
def debug_vm(call: Call) -> Answer:
    """Inject an NMI."""
    machines = call.machines()
    for vm in machines:
        if vm.state != "Running":
            raise wrong_state("Injecting a non-maskable interrupt into", vm.name, vm.id)
        if call.on("InjectNonMaskableInterrupt") and vm.machine is not None:
            with power.engine():
                vm.machine.nmi()
    return call.passed(vm.thing() for vm in machines)


@cmdlet("Copy-VMFile")
def copy_vm_file(call: Call) -> Answer:
    """Through the guest service interface, which is off by default; the guest's side is a model over its agent."""
    source = call.world.file(str(call.get("SourcePath")))
    if not source.is_file():
        raise no_file(str(call.get("SourcePath")))
    for vm in call.machines():
        if vm.state != "Running":
            raise wrong_state("Copying a file to", vm.name, vm.id)
        try:
            if not vm.config.services[GUEST_SERVICE] or vm.machine is None:
                raise GuestSilent("the guest service interface is off")
            vm.machine.guest_copy(
                source,
                str(call.get("DestinationPath")),
                folders=call.on("CreateFullPath"),
                overwrite=call.on("Force"),
            )
        except EngineError as error:
            code = "0x80070050" if "already" in error.message else "0x80004005"  # ERROR_FILE_EXISTS, E_FAIL
            raise Refusal(
                "OperationFailed",
                f"'{vm.name}' failed to initiate copying files to the guest: {error.message} ({code})",
            ) from error
    return []


def _each(call: Call, work: Any) -> Answer:
    machines = call.machines()
    for vm in machines:
        with vm.lock:
            work(call, vm)
    return call.passed(vm.thing() for vm in machines)


def _check_memory(memory: int) -> None:
    if memory % (2 * MIB) or not 32 * MIB <= memory <= 12 << 40:
        raise Refusal("InvalidParameter", f"Invalid startup memory amount: {memory} bytes.")


def _below(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name) if folder.startswith("/") else ntpath.join(folder, name)
