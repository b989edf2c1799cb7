from collections.abc import Callable

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import PowerState
from harness.backends.protocol import Pausable, Savable
from harness.backends.verbs import able
from harness.core.waiting import pause
from harness.guest.nics import address_of
from harness.guest.streams import End, Held

pytestmark = [pytest.mark.needs(Capability.PEER_NETWORK), pytest.mark.shape(nics=2), pytest.mark.changes_guest]


@pytest.mark.check("N16", part="pause")
@pytest.mark.needs(Capability.PAUSE)
def test_a_connection_outlives_a_pause(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Whoever speaks to a guest that is paused for a while goes on over the same connection, and nothing is lost."""
    machine = able(guest.machine, Pausable)

    def sleep() -> PowerState:
        machine.pause(expect.deadline("host.verb"))
        return PowerState.PAUSED

    outlives(guest, peer, expect, sleep, lambda: machine.resume(expect.deadline("host.verb")))


@pytest.mark.check("N16", part="save")
@pytest.mark.needs(Capability.SAVE)
def test_a_connection_outlives_a_save(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Whoever speaks to a guest that sleeps on disk for a while goes on over the same connection, as after a pause."""
    machine = able(guest.machine, Savable)

    def sleep() -> PowerState:
        guest.disconnect()
        machine.save(expect.deadline("host.state"))
        return PowerState.SAVED

    outlives(guest, peer, expect, sleep, lambda: machine.restore(expect.deadline("host.state")))


def outlives(
    guest: Guest, peer: Guest, expect: Expectations, sleep: Callable[[], PowerState], wake: Callable[[], None]
) -> None:
    """Put the guest to sleep, speak to it meanwhile, wake it, and hear its answers over the connection of before.

    The addresses must be those of before. That a lease was renewed is not asked: guests have theirs from their seed.
    """
    boot, before = guest.boot_id, {mac: nic.addresses for mac, nic in guest.nics.all().items()}
    ours, theirs = (End(each, address_of(each.identity.nics[1])) for each in (guest, peer))
    held = Held(theirs, ours)

    def answered(word: str) -> None:
        heard = held.hear(expect.deadline("N16.heard"))
        assert heard == word, f"{guest.name} was told {word!r} over port {held.port}, and sent back {heard!r}"

    held.say("before")
    answered("before")
    with guest.kernel.undisturbed(expect.noise):
        state = sleep()
        assert guest.machine.view(expect.deadline("host.verb")).state is state
        held.say("asleep")
        pause(expect.duration("N16.asleep"))
        wake()
        guest.wait_back(expect.deadline("guest.back"))
        assert guest.boot_id == boot, "the guest booted anew instead of going on"
        answered("asleep")
        held.say("after")
        answered("after")
        held.close()
    after = {mac: nic.addresses for mac, nic in guest.nics.all().items()}
    assert after == before, f"the guest went to sleep with the addresses {before} and woke with {after}"
