import re

import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests

from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored, Refused, ShutdownRequest
from harness.backends.verbs import able
from harness.core import Deadline
from harness.guest.ready import NotReady
from harness.guest.services import UPTIME
from harness.guest.switching import device_class, switch

# What the kernel says of a journalling file system that was not unmounted (fs/ext4, fs/xfs).
RECOVERED = re.compile(r"recovery (complete|required)|Starting recovery|orphan cleanup on|recovering journal")
ORDERLY = re.compile(r"Reached target .*(Power[ -]?Off|poweroff)", re.IGNORECASE)


@pytest.mark.check("I11")
@pytest.mark.needs(Capability.SHUTDOWN)
@pytest.mark.changes_guest
def test_a_guest_shuts_down_when_its_host_asks(guest: Guest, expect: Expectations) -> None:
    """A host can ask its guests to stop, and they stop in good order: nothing is left to repair."""
    shuts_down(guest, expect)


def shuts_down(guest: Guest, expect: Expectations) -> None:
    """Assert that a guest stops when it is asked to, in good order, and boots again."""
    machine, before = guest.machine, guest.boot_id
    able(machine, ShutdownRequest).shutdown(expect.deadline("I11.off"))
    state = machine.view(expect.deadline("host.verb")).state
    assert state is PowerState.OFF, f"shutdown was reported as done, and the host sees the machine {state}"

    guest.disconnect()
    machine.start(expect.deadline("host.verb"))
    guest.wait_ready(expect.deadline("guest.boot"))
    assert guest.boot_id != before, "the same boot goes on: the machine was never off"
    repaired = [str(message) for message in guest.kernel.log() if RECOVERED.search(message.text)]
    assert not repaired, f"the file system had to be repaired after an orderly shutdown: {repaired}"
    problems = guest.kernel.problems(ignore=expect.noise)
    assert not problems, f"the kernel complains after a shutdown and a boot: {problems}"
    journal = guest.services.journal(boot=-1, lines=200)
    assert any(ORDERLY.search(line) for line in journal), (
        "the journal of the boot before does not end in an orderly power-off:\n" + "\n".join(journal[-10:])
    )


@pytest.mark.check("I11", part="reboot")
@pytest.mark.needs(Capability.SHUTDOWN)
@pytest.mark.changes_guest
def test_a_guest_reboots_when_its_host_asks(guest: Guest, expect: Expectations) -> None:
    """A host can ask its guests to boot anew, and they do."""
    before = guest.boot_id
    able(guest.machine, ShutdownRequest).reboot(expect.deadline("host.verb"))
    try:
        guest.reboot_seen(before, expect.deadline("I11.reboot"))
    except NotReady:
        limit = expect.limit("I11.reboot")
        assert guest.boot_id != before, f"the host's request for a reboot was taken, and the same boot goes on: {limit}"
        raise
    problems = guest.kernel.problems(ignore=expect.noise)
    assert not problems, f"the kernel complains after a reboot: {problems}"


@pytest.mark.check("I13")
@pytest.mark.needs(Capability.SHUTDOWN, Capability.SERVICE_TOGGLE)
@pytest.mark.changes_guest
def test_shutdown_is_switched_off_and_on(guest: Guest, expect: Expectations) -> None:
    """A guest whose host gave up the right to stop it stays up, and stops in good order once the right is back."""
    machine, before = guest.machine, guest.boot_id
    device = device_class(expect.words("vmbus_devices"), "shutdown")
    switch(guest, "shutdown", True, device, expect.deadline("I13.on"))
    switch(guest, "shutdown", False, device, expect.deadline("I13.off"))
    up = guest.read(UPTIME)
    try:
        able(machine, ShutdownRequest).shutdown(expect.deadline("I13.refused"))
    except (GuestIgnored, Refused):
        pass
    else:
        raise AssertionError("shutdown is switched off, and the host says that it stopped the guest nevertheless")
    state = machine.view(expect.deadline("host.verb")).state
    assert state is PowerState.RUNNING, f"shutdown is switched off, was asked for, and the host sees a machine {state}"
    assert guest.boot_id == before, "shutdown is switched off, was asked for, and the guest is in another boot"
    assert guest.read(UPTIME) > up, f"the guest stands still since it was asked to stop, {up} after it booted"

    switch(guest, "shutdown", True, device, expect.deadline("I13.on"))
    shuts_down(guest, expect)


@pytest.mark.check("I12")
@pytest.mark.needs(Capability.SHUTDOWN)
def test_a_shutdown_asked_too_early_does_not_hang(guests: Guests, expect: Expectations) -> None:
    """Asking a guest that has hardly begun to boot ends in an answer, the answer is true, and nobody is harmed."""
    guest = guests.create()
    machine = guest.machine
    machine.start(expect.deadline("host.verb"))
    asked = Deadline.after(expect.duration("I12.patience"))
    try:
        able(machine, ShutdownRequest).shutdown(asked)
        wanted = PowerState.OFF
    except GuestIgnored:
        wanted = PowerState.RUNNING
    overrun = asked.clock() - asked.at
    assert expect.limit("I12.overrun").allows(overrun), f"the answer came {overrun:.0f} s after the deadline"
    state = machine.view(expect.deadline("host.verb")).state
    assert state is wanted, f"the request was answered as if the machine were {wanted}, and the host sees it {state}"

    if state is PowerState.OFF:
        machine.start(expect.deadline("host.verb"))
    guest.wait_ready(expect.deadline("guest.boot"))
    repaired = [str(message) for message in guest.kernel.log() if RECOVERED.search(message.text)]
    assert not repaired, f"the file system had to be repaired after a shutdown that was asked too early: {repaired}"
