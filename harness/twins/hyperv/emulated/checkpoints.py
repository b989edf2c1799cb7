"""Checkpoints: taken, applied, removed and merged."""

from __future__ import annotations

import copy
import datetime as dt
import time
import uuid

from harness.twins.engine import GuestSilent, MachineState
from harness.twins.hyperv.emulated import power
from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet, guid, is_pattern, like
from harness.twins.hyperv.emulated.configuration import VSS, Checkpoint, Config
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.refusals import Refusal, wrong_state
from harness.twins.hyperv.emulated.world import World


@cmdlet("Checkpoint-VM")
def checkpoint_vm(call: Call) -> Answer:
    """Take one."""
    things = []
    for vm in call.machines():
        with vm.lock:
            name = str(call.get("SnapshotName") or f"{vm.name} - ({dt.datetime.now(dt.UTC):%d/%m/%Y - %H:%M:%S})")
            things.append(vm.checkpoint_thing(take(call.world, vm, name)))
    return call.passed(things)


@cmdlet("Get-VMSnapshot")
def get_snapshot(call: Call) -> Answer:
    """Those of machines, or of an id."""
    if "Id" in call and "VM" not in call:
        wanted = guid(call.get("Id"))
        found = [(vm, each) for vm in call.world.all() for each in vm.checkpoints if each.id == wanted]
        if not found:
            raise Refusal("ObjectNotFound", f'Hyper-V was unable to find a checkpoint with id "{wanted}".')
        return [vm.checkpoint_thing(each) for vm, each in found]
    return [vm.checkpoint_thing(each) for vm, each in _chosen(call, listing=True)]


@cmdlet("Restore-VMSnapshot")
def restore_snapshot(call: Call) -> Answer:
    """Be again what it was. A machine that ran is saved first, and goes on afterwards if the checkpoint has memory."""
    found = _chosen(call)
    if not found:
        raise Refusal("ObjectNotFound", "Hyper-V was unable to find a checkpoint that fits.")
    if len(found) > 1:
        raise Refusal("InvalidParameter", "More than one checkpoint was found that fits.")
    vm, checkpoint = found[0]
    with vm.lock:
        restore(call.world, vm, checkpoint)
    return call.passed([vm.checkpoint_thing(checkpoint)])


@cmdlet("Remove-VMSnapshot")
def remove_snapshot(call: Call) -> Answer:
    """Forget them; their disks are merged in the background."""
    found = _chosen(call)
    for vm, checkpoint in found:
        with vm.lock:
            family = [checkpoint]
            while call.on("IncludeAllChildSnapshots"):
                more = [
                    each for each in vm.checkpoints if each.parent in {one.id for one in family} and each not in family
                ]
                if not more:
                    break
                family += more
            for each in reversed(family):
                remove(call.world, vm, each)
    return call.passed([])


@cmdlet("Rename-VMSnapshot")
def rename_snapshot(call: Call) -> Answer:
    """Another name."""
    found = _chosen(call)
    for _, checkpoint in found:
        checkpoint.name = str(call.get("NewName"))
    return call.passed(vm.checkpoint_thing(each) for vm, each in found)


def take(world: World, vm: Vm, name: str, *, automatic: bool = False) -> Checkpoint:
    """Take a checkpoint.

    Raises:
        Refusal: checkpoints are off, or the machine is in no state for one.
    """
    if vm.config.checkpoint_type == "Disabled":
        raise Refusal("InvalidOperation", f"Checkpoints have been disabled for '{vm.name}'.")
    if vm.state not in {"Off", "Running", "Paused", "Saved"} or vm.merging():
        raise wrong_state("Checkpointing", vm.name, vm.id)
    number, kept, kind = uuid.uuid4(), vm.snapshot_config(), vm.config.checkpoint_type
    memory = vm.state != "Off"
    with power.engine():
        if world.engine is not None and vm.machine is None:
            vm.machine = world.engine(vm.generation).add(str(vm.id), power.hardware(world, vm, vm.config))
        if vm.machine is not None and vm.machine.state is MachineState.OFF:
            vm.machine.reconfigure(power.hardware(world, vm, vm.config))
        if vm.state in {"Running", "Paused"} and kind in {"Production", "ProductionOnly"}:
            silence = _quiesced(vm, str(number))
            if silence and kind == "ProductionOnly":
                said = f"'{vm.name}': production checkpoints cannot be created: no VSS in the guest: {silence}"
                raise Refusal("OperationFailed", said)
            memory = bool(silence)  # Production takes a standard one then, and says nothing
        if vm.machine is not None and (memory or vm.state == "Off"):
            vm.machine.snapshot(str(number), memory=memory)
    checkpoint = Checkpoint(number, name, vm.parent, dt.datetime.now(dt.UTC), kept, memory=memory, automatic=automatic)
    vm.checkpoints.append(checkpoint)
    vm.parent = checkpoint.id
    _branch(world, vm)
    world.events.worker(18596, vm, "was checkpointed")
    return checkpoint


def _branch(world: World, vm: Vm) -> None:
    """From now on each disk is written to in an AVHDX beside it. What is in that, the engine keeps."""
    for drive in vm.config.drives:
        if drive.path and not drive.dvd:
            stem, _, _ = drive.path.rpartition(".")
            drive.merged = f"{stem}_{str(uuid.uuid4()).upper()}.avhdx"
            if world.file(drive.path).exists():
                vm.deltas.setdefault(drive.key, []).append(world.file(drive.merged))
                world.file(drive.merged).touch()


def _quiesced(vm: Vm, name: str) -> str:
    """Take one of disks that the guest's VSS daemon holds still; why that did not come to pass, or nothing."""
    if vm.machine is None or vm.state != "Running":
        return "no guest runs"
    if not vm.config.services[VSS]:
        return "the service is disabled"
    try:
        vm.machine.snapshot(name, memory=False, quiesced=True)
    except GuestSilent as error:
        return error.message
    return ""


def restore(world: World, vm: Vm, checkpoint: Checkpoint) -> None:
    """Apply it.

    Raises:
        Refusal: the machine is in no state for it.
    """
    if vm.state not in {"Off", "Running", "Paused", "Saved"} or vm.merging():
        raise wrong_state("Applying a checkpoint to", vm.name, vm.id)
    ran = vm.state == "Running"
    name, avhdx = vm.name, {each.key: each.merged for each in vm.config.drives}
    with power.engine():
        if vm.machine is not None:
            vm.machine.revert(str(checkpoint.id))
            if checkpoint.memory:
                # Windows has it saved now. Here its process is there and stands still: the guest cannot tell.
                vm.machine.pause()
    vm.parked = checkpoint.memory
    vm.config = _copy(checkpoint)
    vm.config.name = name
    for drive in vm.config.drives:
        if drive.path and not drive.dvd:
            drive.merged = avhdx.get(drive.key) or f"{drive.path.rpartition('.')[0]}_{uuid.uuid4()}.avhdx"
    vm.parent = checkpoint.id
    vm.state = "Saved" if checkpoint.memory else "Off"
    world.events.worker(18598, vm, "had a checkpoint applied")
    if ran and vm.state == "Saved":
        power.start(world, vm)


def remove(world: World, vm: Vm, checkpoint: Checkpoint) -> None:
    """Forget it, and merge its disks in the background."""
    with power.engine():
        if vm.machine is not None:
            vm.machine.delete_snapshot(str(checkpoint.id))
    vm.checkpoints.remove(checkpoint)
    for each in vm.checkpoints:
        if each.parent == checkpoint.id:
            each.parent = checkpoint.parent
    if vm.parent == checkpoint.id:
        vm.parent = checkpoint.parent
    vm.merging_until = time.monotonic() + world.settings.merge_seconds


def _copy(checkpoint: Checkpoint) -> Config:
    return copy.deepcopy(checkpoint.config)


def _chosen(call: Call, *, listing: bool = False) -> list[tuple[Vm, Checkpoint]]:
    if "VMSnapshot" in call:
        return [call.world.checkpoint(thing.key) for thing in call.many("VMSnapshot")]
    by_name = "VMName" in call or "VM" in call
    machines = call.machines() if by_name else call.world.all()
    patterns = [str(name) for name in call.many("Name")] or ["*"]
    found = [(vm, each) for vm in machines for each in vm.checkpoints if any(like(each.name, one) for one in patterns)]
    if not found and listing and not all(is_pattern(one) for one in patterns):
        raise Refusal("InvalidParameter", f'Hyper-V was unable to find a checkpoint with name "{patterns[0]}".')
    return found
