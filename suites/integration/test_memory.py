import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.protocol import Ballooning
from harness.backends.verbs import able
from harness.core import MiB, Pending, Size, wait_for
from harness.measure.views import Views

UNREAD = "the balloon's driver tells nothing of it: mount debugfs in the guest (hv_balloon: since Linux 6.0)"


@pytest.mark.check("I24")
@pytest.mark.quiet
@pytest.mark.smoke
def test_a_quiet_host_leaves_its_guests_their_memory(guest: Guest, expect: Expectations) -> None:
    """Who asks for memory has it while nobody else needs it: the balloon is empty, and the kernel has the rest."""
    asked, host = guest.shape.memory, guest.machine.view(expect.deadline("host.verb")).memory
    total, taken = guest.memory.total(), guest.memory.ballooned()
    assert asked == host, f"memory: asked of the host {asked}, seen by the host {host}, seen by the guest {total}"
    difference, allowed = 100 * (total - asked) / asked, expect.limit("I24.memory")
    assert allowed.allows(difference), (
        f"memory: asked of the host {asked}, seen by the host {host}, seen by the guest {total}: "
        f"{difference:+.1f} %, not {allowed}"
    )
    if taken is None:
        pytest.skip(f"the kernel has what was asked for, but {UNREAD}")
    limit = expect.limit("I24.taken")
    assert limit.allows(taken / MiB), f"the balloon holds {taken} of {asked} on a quiet host, not {limit}"


@pytest.mark.check("I25")
@pytest.mark.needs(Capability.DYNAMIC_MEMORY)
@pytest.mark.changes_guest
def test_the_balloon_takes_memory_and_gives_it_back(guest: Guest, expect: Expectations) -> None:
    """A host that runs short borrows memory of its guests, as much as it says and no more; later they have it again."""
    machine, whole, total = able(guest.machine, Ballooning), guest.shape.memory, guest.memory.total()
    if guest.memory.ballooned() is None:
        pytest.skip(UNREAD)
    reached, agree = expect.limit("I25.reached"), expect.limit("I25.agree")
    with guest.kernel.undisturbed(expect.noise):
        for asked in (Size(whole - expect.size("I25.taken")), whole):
            machine.balloon(asked, expect.deadline("host.verb"))

            def moved(asked: Size = asked) -> bool | Pending:
                host, taken = machine.assigned(expect.deadline("host.verb")), guest.memory.ballooned()
                if taken is None:
                    return Pending(UNREAD)
                lacks = total - guest.memory.total()
                there = reached.keeps((host - asked) / MiB) and agree.keeps((whole - taken - host) / MiB)
                seen = f"asked of the host {asked}, seen by the host {host}, seen by the guest {Size(whole - taken)}"
                felt = agree.keeps((taken - lacks) / MiB)
                return True if there and felt else Pending(f"memory: {seen}; its kernel has {lacks / MiB:.0f} MiB less")

            wait_for(f"the balloon to leave {asked}", moved, expect.deadline("I25.moved"), fault=AssertionError)


@pytest.mark.check("I26")
@pytest.mark.needs(Capability.MEMORY_HOT_ADD)
@pytest.mark.shape(memory="1 GiB", max_memory="2 GiB")
@pytest.mark.changes_guest
def test_memory_is_added_while_running(guest: Guest, expect: Expectations) -> None:
    """A guest that runs short of memory gets more without a reboot, and all of it can be used."""
    more = Size.parse("2 GiB")
    before, free = guest.memory.blocks().in_service, guest.memory.info().free
    assert before == guest.shape.memory, f"the guest must begin with {guest.shape.memory}; its blocks hold {before}"
    with guest.kernel.undisturbed(expect.noise):
        guest.memory.accept_new()
        guest.machine.resize(expect.deadline("host.verb"), memory=more)

        def came() -> bool | Pending:
            now = guest.memory.blocks()
            return True if now.in_service == more and not now.offline else Pending(f"{now.in_service} in {now}")

        wait_for(f"{more} of memory in service", came, expect.deadline("I26.online"), fault=AssertionError)
        host = guest.machine.view(expect.deadline("host.verb")).memory
        views = Views("memory after hot add", asked=more, host=host, guest=guest.memory.blocks().in_service)
        assert views.agree, views
    grown, limit = (guest.memory.info().free - free) / 1e6, expect.limit("I26.free")
    assert limit.allows(grown), f"{more - before} bytes came, and {grown:.0f} MB more are free, not {limit}"
