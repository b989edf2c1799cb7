import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests, HostUnderTest

from harness.backends.protocol import Refused
from harness.core import Deadline, Pending, Size, wait_for
from harness.measure.views import Views

ROOM_FOR_EIGHT = {"vcpus": 2, "max_vcpus": 8}


def wait_present(guest: Guest, vcpus: int, deadline: Deadline) -> None:
    """Wait until the guest's kernel has exactly so many CPUs plugged in."""

    def present() -> bool | Pending:
        seen = guest.cpus.masks().present
        return True if len(seen) == vcpus else Pending(f"present: {sorted(seen)}")

    wait_for(f"{vcpus} CPUs present in {guest.name}", present, deadline, fault=AssertionError)


@pytest.mark.check("C09")
@pytest.mark.needs(Capability.CPU_HOT_ADD)
@pytest.mark.shape(**ROOM_FOR_EIGHT)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_vcpus_are_added_while_running(guest: Guest, expect: Expectations) -> None:
    """A guest that runs short of CPUs gets more without a reboot, and they work."""
    assert len(guest.cpus.masks().present) == 2, "the guest must begin with the two vCPUs it was asked for"
    with guest.kernel.undisturbed(expect.noise):
        for vcpus in (4, 8):
            guest.machine.resize(expect.deadline("host.verb"), vcpus=vcpus)
            wait_present(guest, vcpus, expect.deadline("C09.present"))
            online = guest.cpus.bring_up()
            host = guest.machine.view(expect.deadline("host.verb"))
            views = Views("vCPUs online after hot add", asked=vcpus, host=host.vcpus, guest=len(online))
            assert views.agree, views
        done = guest.cpus.work(expect.duration("C09.span"))
    assert all(work.rounds > 0 for work in done.values()), f"some CPUs do no work: {done}"


@pytest.mark.check("C10")
@pytest.mark.needs(Capability.CPU_HOT_ADD, Capability.CPU_HOT_REMOVE)
@pytest.mark.shape(**ROOM_FOR_EIGHT)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_vcpus_are_removed_while_running(guest: Guest, expect: Expectations) -> None:
    """CPUs that were added can be taken back without a reboot, and the guest does not mind."""
    guest.machine.resize(expect.deadline("host.verb"), vcpus=4)
    wait_present(guest, 4, expect.deadline("C09.present"))
    assert len(guest.cpus.bring_up()) == 4
    with guest.kernel.undisturbed(expect.noise):
        guest.machine.resize(expect.deadline("host.verb"), vcpus=2)
        wait_present(guest, 2, expect.deadline("C10.gone"))
    host = guest.machine.view(expect.deadline("host.verb"))
    views = Views("vCPUs online after removal", asked=2, host=host.vcpus, guest=len(guest.cpus.online()))
    assert views.agree, views


@pytest.mark.check("C11")
@pytest.mark.changes_guest
@pytest.mark.smoke
def test_vcpus_that_cannot_be_added_are_refused(guest: Guest, host: HostUnderTest, expect: Expectations) -> None:
    """Asking too much of a running machine is refused by name, and neither its host nor its guest counts on it."""
    if Capability.CPU_HOT_ADD in host.hypervisor.capabilities(guest.shape):
        pytest.skip(f"{host.name} adds vCPUs to any running machine: there is nothing to refuse")
    asked, boot = guest.shape.vcpus, guest.boot_id
    with guest.kernel.undisturbed(expect.noise):
        with pytest.raises(Refused):
            guest.machine.resize(expect.deadline("host.verb"), vcpus=2 * asked)
        seen = guest.machine.view(expect.deadline("host.verb"))
        views = Views("vCPUs after a refused hot add", asked=asked, host=seen.vcpus, guest=len(guest.cpus.online()))
        assert views.agree, str(views)
        assert len(guest.cpus.masks().present) == asked, f"asked for {asked} vCPUs, present: {guest.cpus.masks()}"
    assert guest.boot_id == boot, "the guest booted anew"


@pytest.mark.check("C13")
def test_a_machine_that_is_off_takes_another_size(guests: Guests, expect: Expectations) -> None:
    """Changing vCPUs and memory of a machine that is off is what it boots with next."""
    vcpus, memory = 3, Size.parse("1536 MiB")
    guest = guests.create(vcpus=2, memory="1 GiB")
    guest.machine.resize(expect.deadline("host.verb"), vcpus=vcpus, memory=memory)
    guest.machine.start(expect.deadline("host.verb"))
    guest.wait_ready(expect.deadline("guest.boot"))
    host = guest.machine.view(expect.deadline("host.verb"))
    views = Views("vCPUs", asked=vcpus, host=host.vcpus, guest=len(guest.cpus.online()))
    assert views.agree, views
    total, limit = guest.memory.total(), expect.limit("C13.memory")
    difference = 100 * (total - memory) / memory
    assert host.memory == memory, f"memory: asked of the host {memory}, seen by the host {host.memory}"
    assert limit.allows(difference), (
        f"memory: asked {memory}, seen by the guest {total}: {difference:+.1f} %, not {limit}"
    )
