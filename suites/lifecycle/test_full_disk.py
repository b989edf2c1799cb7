from concurrent.futures import ThreadPoolExecutor

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import DiskSpec, PowerState
from harness.backends.protocol import FullDisk, Services
from harness.backends.verbs import able
from harness.core import Pending, wait_for
from harness.guest.disks import Disk


@pytest.mark.check("L15")
@pytest.mark.needs(Capability.FULL_DISK, Capability.HEARTBEAT)
@pytest.mark.quiet
@pytest.mark.changes_guest
def test_a_full_host_disk_holds_a_guest_and_harms_it_not(guest: Guest, expect: Expectations) -> None:
    """A host whose disk is full stops the guest that writes to it, and says so: with room again it goes on unharmed."""
    machine, boot, size = able(guest.machine, FullDisk), guest.boot_id, expect.size("L15.size")
    view = guest.machine.view(expect.deadline("host.verb"))
    assert (view.state, view.critical) == (PowerState.RUNNING, False), f"before its disk is full: {view.state}"
    machine.attach_scarce_disk(DiskSpec("interop-scarce", size), expect.deadline("host.verb"))
    disk = wait_for("the disk in the guest", lambda: _disk(guest), expect.deadline("L15.device"), fault=AssertionError)
    with guest.kernel.undisturbed(expect.noise), ThreadPoolExecutor(1) as pool:
        try:
            machine.fill_host(expect.deadline("host.verb"))
            writing = pool.submit(guest.disks.fill, disk, size)
            wait_for(
                "the host to hold a guest that writes to its full disk",
                lambda: _held(guest, expect),
                expect.deadline("L15.held"),
                fault=AssertionError,
            )
            assert not writing.done(), f"the host's disk is full, and took what the guest wrote: {writing.result()}"
        finally:
            machine.free_host(expect.deadline("host.verb"))
        written = writing.result()
        assert (written.size, written.error) == (size, ""), f"of {size} the disk took {written.size}: {written.error}"
        read = guest.disks.digest(disk, size)
        assert read.sha256 == written.sha256, f"{size} came back different: wrote {written.sha256}, read {read.sha256}"
        wait_for("a heartbeat", lambda: _beats(guest, expect), expect.deadline("L15.heartbeat"), fault=AssertionError)
    view = guest.machine.view(expect.deadline("host.verb"))
    assert (view.state, view.critical) == (PowerState.RUNNING, False), f"with room again it is {view.state}"
    assert guest.boot_id == boot, "the guest booted anew instead of going on"


def _disk(guest: Guest) -> Disk | Pending:
    return guest.disks.by_serial("interop-scarce") or Pending(f"disks: {guest.disks.all()}")


def _held(guest: Guest, expect: Expectations) -> bool | Pending:
    view = guest.machine.view(expect.deadline("host.verb"))
    return view.critical or Pending(f"it is {view.state}, and the host does not say that it stopped it")


def _beats(guest: Guest, expect: Expectations) -> bool | Pending:
    seen = able(guest.machine, Services).services(expect.deadline("host.verb"))
    return any(one.healthy for one in seen if one.name == "heartbeat") or Pending(f"the host sees {seen}")
