"""Each verb of the protocol once, on a machine with a guest, for counts of round trips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from harness.backends.capabilities import Capability
from harness.backends.model import DiskSpec, NicSpec
from harness.backends.protocol import (
    Checkpointed,
    DiskNames,
    DiskPlug,
    DiskResize,
    Exchange,
    HostClock,
    Hypervisor,
    LinkSwitch,
    NicPlug,
    NmiInjector,
    Pausable,
    Savable,
    Screenshot,
    ServiceSwitch,
    ShutdownRequest,
)
from harness.backends.verbs import able
from harness.core import Deadline, MiB, Size
from harness.guest import Guest

_SECONDS = 1800.0
_DISK = DiskSpec("bench", Size(16 * MiB))
_LARGER = Size(32 * MiB)

Verbs = Iterator[tuple[str, Callable[[], object]]]


def run(
    hypervisor: Hypervisor, guest: Guest, question: str, count: Callable[[str], AbstractContextManager[None]]
) -> None:
    """Do each in a block of its own; what the host declares it cannot do for this guest is left out.

    Args:
        hypervisor: the guest's.
        guest: it runs, and is in no state to be used afterwards.
        question: what is asked by EXCHANGE.
        count: opens the block of a verb.
    """
    for part in (_asked, _plugged, _obeyed, _switched):
        for verb, action in part(hypervisor, guest, question):
            with count(verb):
                action()


def _asked(hypervisor: Hypervisor, guest: Guest, question: str) -> Verbs:
    """What changes nothing."""
    machine, until = _of(guest)
    able_to = hypervisor.capabilities(guest.shape)
    yield "view", lambda: machine.view(until)
    yield "addresses", lambda: machine.addresses(until)
    yield "services", lambda: machine.services(until)
    yield "events", lambda: machine.events(until)
    yield "console read", lambda: machine.console().read(0, 1 << 16)
    if isinstance(machine, DiskNames):
        yield "disk_names", lambda: machine.disk_names(until)
    if Capability.EXCHANGE in able_to:
        yield "exchange", lambda: able(machine, Exchange).exchange(question, until)
    if Capability.SERVICE_TOGGLE in able_to:
        yield "toggle", lambda: able(machine, ServiceSwitch).toggle("timesync", True, until)
    yield "screenshot", lambda: able(machine, Screenshot).screenshot(until)
    if Capability.HOST_CLOCK in able_to:
        yield "clock", lambda: able(hypervisor, HostClock).clock(until)
    yield "owned", lambda: list(hypervisor.owned(until))


def _plugged(hypervisor: Hypervisor, guest: Guest, _: str) -> Verbs:
    """Devices come, change and go."""
    machine, until = _of(guest)
    able_to = hypervisor.capabilities(guest.shape)
    yield "attach_disk", lambda: able(machine, DiskPlug).attach_disk(_DISK, until)
    if Capability.DISK_RESIZE in able_to:
        yield "resize_disk", lambda: able(machine, DiskResize).resize_disk(_DISK.serial, _LARGER, until)
    yield "detach_disk", lambda: able(machine, DiskPlug).detach_disk(_DISK.serial, until)
    if Capability.NIC_HOT_ADD in able_to:
        nic = _another(guest.identity.nics[-1])
        yield "attach_nic", lambda: able(machine, NicPlug).attach_nic(nic, until)
        yield "detach_nic", lambda: able(machine, NicPlug).detach_nic(nic.mac, until)
    yield "link", lambda: able(machine, LinkSwitch).link(guest.identity.nics[0].mac, True, until)


def _obeyed(hypervisor: Hypervisor, guest: Guest, _: str) -> Verbs:
    """What the guest itself does when it is asked; it must be up."""
    machine, until = _of(guest)
    able_to = hypervisor.capabilities(guest.shape)
    if Capability.SHUTDOWN in able_to:
        yield "shutdown", lambda: able(machine, ShutdownRequest).shutdown(until)
        guest.disconnect()
        guest.console.forget()
        yield "start", lambda: machine.start(until)
        guest.wait_ready(until)
        yield "reboot", lambda: able(machine, ShutdownRequest).reboot(until)
    if Capability.NMI in able_to:
        yield "nmi", lambda: able(machine, NmiInjector).nmi(until)


def _switched(hypervisor: Hypervisor, guest: Guest, _: str) -> Verbs:
    """What the host does, whatever the guest is about."""
    machine, until = _of(guest)
    if isinstance(machine, Pausable):
        yield "pause", lambda: machine.pause(until)
        yield "resume", lambda: machine.resume(until)
    yield "reset", lambda: machine.reset(until)
    yield "save", lambda: able(machine, Savable).save(until)
    yield "restore", lambda: able(machine, Savable).restore(until)
    yield "checkpoint", lambda: able(machine, Checkpointed).checkpoint("bench", until, memory=True)
    yield "checkpoints", lambda: able(machine, Checkpointed).checkpoints(until)
    yield "checkpoint_files", lambda: able(machine, Checkpointed).checkpoint_files(until)
    yield "revert", lambda: able(machine, Checkpointed).revert("bench", until)
    yield "drop_checkpoint", lambda: able(machine, Checkpointed).drop_checkpoint("bench", until)
    yield "stop", lambda: machine.stop(until)
    if Capability.SHUTDOWN not in hypervisor.capabilities(guest.shape):
        yield "start", lambda: machine.start(until)


def _of(guest: Guest) -> tuple[Any, Deadline]:
    """Its machine, and long enough for anything here."""
    return guest.machine, Deadline.after(_SECONDS)


def _another(nic: NicSpec) -> NicSpec:
    """A NIC beside that one, which nobody else has and no address goes to."""
    last = int(nic.mac[-2:], 16) ^ 0xFF
    return replace(nic, mac=f"{nic.mac[:-2]}{last:02x}", address=None, forward=None)
