"""Power: what becomes of a machine's state, and of the guest behind it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from harness.core import Deadline, Pending, wait_for
from harness.twins.engine import Disk, EngineError, GuestSilent, Hardware, MachineState
from harness.twins.engine import Nic as EngineNic
from harness.twins.hyperv.emulated import sectors, timesync
from harness.twins.hyperv.emulated.configuration import Config, Nic, colons
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.refusals import Refusal, in_use, no_file, wrong_state
from harness.twins.hyperv.emulated.world import World, refused
from harness.twins.hyperv.plan import Effect


def hardware(world: World, vm: Vm, config: Config) -> Hardware:
    """What the engine makes of a configuration."""
    drives = [each for each in config.drives if not each.dvd and each.path]
    order = {key: at for at, key in enumerate(config.boot_order)}
    drives.sort(
        key=lambda each: (order.get(each.key, len(order)), each.controller_type, each.controller, each.location)
    )
    disks = []
    for drive in drives:
        place = world.file(drive.path or "")
        size = int(world.image(drive.path or "")["virtual-size"])
        disks.append(
            Disk(
                path=place,
                size=size,
                backing=_content(world, drive.path or ""),
                serial=identifier(place).hex,
                bus=drive.controller_type.lower(),
                controller=drive.controller,
                unit=drive.location,
                sector=sectors.of(place),
            )
        )
    dvd = next((world.file(each.path) for each in config.drives if each.dvd and each.path), None)
    return Hardware(
        uuid=str(vm.id),
        name=config.name,
        vcpus=config.vcpus,
        memory=config.memory,
        max_memory=_room(vm, config),
        numa_nodes=-(-config.vcpus // config.vcpus_per_node) if config.vcpus_per_node else 0,
        uefi=vm.generation == 2,
        disks=tuple(disks),
        cdrom=dvd,
        nics=tuple(
            EngineNic(
                mac=colons(nic.mac),
                network=nic.switch or nic.outlet,
                model="legacy" if nic.legacy else "synthetic",
                connected=nic.switch is not None,
                **_tags(nic),
            )
            for nic in config.nics
        ),
    )


def _tags(nic: Nic) -> dict[str, Any]:
    """Which frames its port lets pass: an untagged one none with a tag, as on a real switch."""
    if nic.vlan["mode"] == "Access":
        return {"vlan": int(nic.vlan["access"])}
    if nic.vlan["mode"] == "Trunk":
        return {"trunk": frozenset(nic.vlan["passing"]), "native": int(nic.vlan["native"])}
    return {"trunk": frozenset()}


def _content(world: World, path: str) -> Path:
    """The file that holds what is on a disk before a guest writes to it.

    What guests write goes to the engine's own layers: of a chain of differencing disks, none but the first holds
    anything. QEMU saves no memory over a VHDX, and the engine takes a copy of one that is given to it as such.
    """
    place, said = world.file(path), world.image(path)
    while parent := said.get("full-backing-filename"):
        place, said = Path(parent), world.image(parent)
    return place


def _room(vm: Vm, config: Config) -> int:
    """Up to how much memory a guest may get while it runs: what it was started with says so."""
    running = vm.machine.hardware.max_memory if vm.machine is not None and vm.state != "Off" else None
    return running or 2 * config.memory + (1 << 30)


def identifier(place: Path) -> uuid.UUID:
    """What a VHDX calls itself, and its guest reads of it: every disk has one of its own."""
    return uuid.uuid5(uuid.NAMESPACE_URL, str(place))


def settle(world: World, vm: Vm) -> None:
    """Make the engine's machine what the configuration says, as far as it has one.

    Raises:
        Refusal: it cannot be that.
    """
    if vm.machine is not None and vm.state in {"Off", "Running", "Paused"}:
        with engine():
            vm.machine.reconfigure(hardware(world, vm, vm.config))


def start(world: World, vm: Vm) -> None:
    """Start it, or go on from its saved state."""
    if vm.state in {"Running", "Starting"}:
        return  # a warning on Windows, no error
    if vm.state == "Paused":
        resume(world, vm)
        return
    if vm.state not in {"Off", "Saved"}:
        raise wrong_state("Starting", vm.name, vm.id)
    if vm.state == "Off":
        _check_files(world, vm)
        _check_memory(world, vm)
    _name_nics(world, vm)
    saved = vm.state == "Saved"
    with _passing(vm, "Starting"), engine():
        _run(world, vm)
        vm.parked = False
        vm.state = "Running"
    if saved:
        timesync.demand(vm)
    world.pipes.changed(vm)
    world.events.worker(18500, vm, "started successfully")


def _run(world: World, vm: Vm) -> None:
    if world.engine is None:
        return
    if vm.machine is None:
        vm.machine = world.engine(vm.generation).add(str(vm.id), hardware(world, vm, vm.config))
    if vm.parked:
        vm.machine.resume()
        return
    if vm.machine.state is MachineState.OFF:
        vm.unheard = True
        vm.machine.reconfigure(hardware(world, vm, vm.config))
    vm.machine.power_on()


def turn_off(world: World, vm: Vm, planned: Collection[Effect] = ()) -> None:
    """Cut its power, or discard its saved state."""
    if vm.state == "Off":
        return
    if vm.state == "Stopping":
        raise wrong_state("Turning off", vm.name, vm.id)
    if Effect.STUCK in planned:
        vm.state = "Stopping"
        raise Refusal("OperationFailed", f"'{vm.name}' failed to change state. (0x800705B4)")
    with _passing(vm, "Stopping"), engine():
        if vm.machine is not None:
            vm.machine.power_off()
        vm.parked = False
        vm.state = "Off"
    world.pipes.changed(vm)
    world.events.worker(18502, vm, "was turned off")


def shut_down(world: World, vm: Vm, planned: Collection[Effect] = (), *, force: bool) -> None:
    """Ask the guest, and wait until it is off: that blocks, as on Windows. ``force`` cuts the power in the end."""
    if vm.state == "Off":
        return
    if vm.state != "Running":
        raise wrong_state("Shutting down", vm.name, vm.id)
    try:
        ask_to_shut_down(vm, planned)
    except Refusal:
        if not force:
            raise
        turn_off(world, vm)
        return
    try:
        wait_for(
            "the guest to shut down",
            lambda: Pending(vm.state) if vm.state != "Off" else True,
            Deadline.after(world.settings.stop_seconds),
            fault=lambda message: Refusal(
                "OperationFailed", f"'{vm.name}' failed to shut down: {message}. (0x800705B4)"
            ),
        )
    except Refusal:
        if not force:
            raise
        turn_off(world, vm)


def ask_to_shut_down(vm: Vm, planned: Collection[Effect] = (), *, reboot: bool = False) -> None:
    """What ``Msvm_ShutdownComponent`` does: ask the guest, and return.

    Raises:
        Refusal: nobody in the guest takes it.
    """
    shutdown = "9F8233AC-BE49-4C79-8EE3-E7E1985B2077"
    not_ready = Refusal("OperationFailed", f"'{vm.name}': the device is not ready for use. (0x800710DF)")
    if not vm.config.services[shutdown] or vm.state != "Running":
        raise not_ready
    if Effect.DEAF in planned:
        return
    if Effect.STUCK in planned:
        vm.state = "Stopping"
        return
    if vm.machine is None:
        vm.state = "Running" if reboot else "Off"
        return
    try:
        vm.machine.guest_reboot() if reboot else vm.machine.guest_shutdown()
    except GuestSilent:
        raise not_ready from None
    except EngineError as error:
        raise refused(error) from error


def save(world: World, vm: Vm) -> None:
    """Put its memory on disk."""
    if vm.state == "Saved":
        return
    if vm.state not in {"Running", "Paused"}:
        raise wrong_state("Saving", vm.name, vm.id)
    with _passing(vm, "Saving"), engine():
        if vm.machine is not None:
            vm.machine.suspend()
        vm.state = "Saved"
    world.pipes.changed(vm)
    world.events.worker(18510, vm, "saved successfully")


def suspend(world: World, vm: Vm) -> None:
    """Stop its vCPUs."""
    if vm.state == "Paused":
        return
    if vm.state != "Running":
        raise wrong_state("Pausing", vm.name, vm.id)
    with _passing(vm, "Pausing"), engine():
        if vm.machine is not None:
            vm.machine.pause()
        vm.state = "Paused"
    world.events.worker(18516, vm, "was paused")


def resume(world: World, vm: Vm) -> None:
    """Let its vCPUs go on."""
    if vm.state == "Running":
        return
    if vm.state == "Saved":
        start(world, vm)
        return
    if vm.state != "Paused":
        raise wrong_state("Resuming", vm.name, vm.id)
    with _passing(vm, "Resuming"), engine():
        if vm.machine is not None:
            vm.machine.resume()
        vm.state = "Running"
    timesync.demand(vm)
    world.events.worker(18518, vm, "was resumed")


def reset(world: World, vm: Vm) -> None:
    """Press the button."""
    if vm.state != "Running":
        raise wrong_state("Resetting", vm.name, vm.id)
    with engine():
        if vm.machine is not None:
            vm.machine.reset()
    world.events.worker(18512, vm, "was reset")


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """What the engine refuses is refused by the host."""
    try:
        yield
    except EngineError as error:
        raise refused(error) from error


@contextlib.contextmanager
def _passing(vm: Vm, state: str) -> Iterator[None]:
    """Show a passing state; whoever fails leaves the machine as it was."""
    before = vm.state
    vm.state = state
    try:
        yield
    finally:
        if vm.state == state:
            vm.state = before


def _check_files(world: World, vm: Vm) -> None:
    for drive in vm.config.drives:
        if not drive.path:
            continue
        if not world.file(drive.path).is_file():
            raise no_file(drive.path)
        if not drive.dvd:
            user = world.user_of(drive.path)
            if user is not None and user is not vm:
                raise in_use(drive.path)


def _name_nics(world: World, vm: Vm) -> None:
    """Dynamic addresses are given at the first start."""
    for nic in vm.config.nics:
        if nic.dynamic and not int(nic.mac, 16):
            nic.mac = world.next_mac()


def _check_memory(world: World, vm: Vm) -> None:
    used = sum(each.config.memory for each in world.all() if each.on)
    if used + vm.config.memory > world.settings.memory:
        raise Refusal(
            "OutOfMemory", f"'{vm.name}' could not initialize memory: not enough memory in the system. (0x8007000E)"
        )
