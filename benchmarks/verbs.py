"""Each verb of the protocol once, on a machine with a guest, for counts of round trips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from harness.backends.model import DiskSpec
from harness.backends.protocol import (
    Checkpointed,
    DiskPlug,
    Exchange,
    Hypervisor,
    LinkSwitch,
    Pausable,
    Savable,
    Screenshot,
)
from harness.backends.verbs import able
from harness.core import Deadline, MiB, Size
from harness.guest import Guest

_SECONDS = 1800.0
_DISK = DiskSpec("bench", Size(16 * MiB))


def run(
    hypervisor: Hypervisor, guest: Guest, question: str, count: Callable[[str], AbstractContextManager[None]]
) -> None:
    """Do each in a block of its own.

    Args:
        hypervisor: the guest's.
        guest: it runs, and is in no state to be used afterwards.
        question: what is asked by EXCHANGE.
        count: opens the block of a verb.
    """
    for verb, action in _verbs(hypervisor, guest, question):
        with count(verb):
            action()


def _verbs(hypervisor: Hypervisor, guest: Guest, question: str) -> Iterator[tuple[str, Callable[[], object]]]:
    machine: Any = guest.machine
    until = Deadline.after(_SECONDS)
    yield "view", lambda: machine.view(until)
    yield "addresses", lambda: machine.addresses(until)
    yield "services", lambda: machine.services(until)
    yield "events", lambda: machine.events(until)
    yield "console read", lambda: machine.console().read(0, 1 << 16)
    if isinstance(machine, Exchange):
        yield "exchange", lambda: machine.exchange(question, until)
    yield "screenshot", lambda: able(machine, Screenshot).screenshot(until)
    yield "attach_disk", lambda: able(machine, DiskPlug).attach_disk(_DISK, until)
    yield "detach_disk", lambda: able(machine, DiskPlug).detach_disk(_DISK.serial, until)
    yield "link", lambda: able(machine, LinkSwitch).link(guest.identity.nics[0].mac, True, until)
    if isinstance(machine, Pausable):
        yield "pause", lambda: machine.pause(until)
        yield "resume", lambda: machine.resume(until)
    yield "reset", lambda: machine.reset(until)
    yield "save", lambda: able(machine, Savable).save(until)
    yield "restore", lambda: able(machine, Savable).restore(until)
    yield "checkpoint", lambda: able(machine, Checkpointed).checkpoint("bench", until, memory=True)
    yield "revert", lambda: able(machine, Checkpointed).revert("bench", until)
    yield "drop_checkpoint", lambda: able(machine, Checkpointed).drop_checkpoint("bench", until)
    yield "stop", lambda: machine.stop(until)
    yield "start", lambda: machine.start(until)
    yield "owned", lambda: list(hypervisor.owned(until))
