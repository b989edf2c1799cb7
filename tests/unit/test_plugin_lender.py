"""Lending: who shares a guest, who gets a clean one, and what nobody waits for twice."""

from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace

import pytest

from harness.backends.model import Shape
from harness.core import GuestError, LabError, UsageError
from harness.guest import NetworkDead, ProbeFailed
from harness.guest.kernel import Selinux
from harness.lab.releases import Unchanged
from harness.plugin.demand import Demand
from harness.plugin.lender import Guests, Lender


@dataclass
class Slots:
    """Hands out named guests, or raises what it is told to."""

    fault: BaseException | None = None
    asked: int = 0
    booted: int = 0
    released: list = field(default_factory=list)
    meanwhile: object = None
    mute: bool = False
    prepared: object = None
    installed: object = staticmethod(lambda guest: None)

    def cold(self, shape, deadline, *, boot=True):
        self.booted += 1
        return self.fresh(shape, deadline)

    def fresh(self, shape, deadline, *, bare=False):
        self.asked += 1
        if self.fault:
            raise self.fault
        services = SimpleNamespace(version=lambda _: None)
        console = SimpleNamespace(read=lambda offset, limit: b"")
        return SimpleNamespace(
            name=f"guest {self.asked}",
            shape=shape,
            services=services,
            kernel=SimpleNamespace(version=lambda: "6.1"),
            read_all=self.described,
            machine=SimpleNamespace(console=lambda: console),
        )

    def described(self, *_):
        if self.mute:
            raise ProbeFailed("guest: SELinux does not read as expected")
        return SimpleNamespace(pretty_name="SLES"), Selinux.ENFORCING, None

    def release(self, guest):
        self.released.append(guest.name)

    def close(self): ...


def demand(**changes):
    plain = {"check": None, "part": "", "shape": Shape(), "needs": (), "quiet": False}
    return Demand(**plain, **({"changes_guest": False, "untouched_clock": False} | changes))


@pytest.fixture
def slots():
    return Slots()


@pytest.fixture
def lender(slots):
    return Lender(slots)


def test_a_guest_whose_host_does_not_tell_of_it_is_lent_to_nobody_else(lender, slots, monkeypatch):
    told = [LabError("no answer"), None]
    monkeypatch.setattr("harness.plugin.evidence.record_of", lambda _: raise_or(told.pop(0)))
    with pytest.raises(LabError, match="no answer"):
        lender.shared(demand())
    assert lender.shared(demand()).name == "guest 2"
    lender.finish(demand(), failed=True)
    assert sorted(slots.released) == ["guest 1", "guest 2"]


def raise_or(fault):
    if fault:
        raise fault
    return ()


def test_readers_share_one_guest(lender, slots):
    first = lender.shared(demand())
    lender.finish(demand(), failed=False)
    assert lender.shared(demand()) is first
    assert slots.asked == 1


def test_a_guest_is_waited_for_as_long_as_the_lab_says(slots, monkeypatch):
    given = []
    fresh = slots.fresh
    monkeypatch.setattr(
        slots, "fresh", lambda shape, deadline, **more: given.append(deadline) or fresh(shape, deadline)
    )
    Lender(slots, patience=timedelta(seconds=60)).shared(demand())
    assert 0 < given[0].seconds <= 60


def test_who_shares_a_guest_is_known_by_its_life(lender):
    """Until it is replaced: what a test that changed it did is nothing to those after it."""
    lives = []
    for changes in (False, True, False):
        lender.shared(demand(changes_guest=changes))
        lives += lender.lives
        lender.finish(demand(changes_guest=changes), failed=False)
    assert lives[0] == lives[1] != lives[2]


def test_a_changer_leaves_no_guest_to_the_next(lender, slots):
    lender.shared(demand(changes_guest=True))
    lender.finish(demand(changes_guest=True), failed=False)
    assert slots.released == ["guest 1"]
    assert lender.shared(demand()).name == "guest 2"


CLOCK = demand(untouched_clock=True)


def test_those_that_look_at_a_clock_share_a_guest_that_was_booted(lender, slots):
    """And not the one of all the others, which was a checkpoint."""
    warm = lender.shared(demand())
    lender.finish(demand(), failed=False)
    first = lender.shared(CLOCK)
    lender.finish(CLOCK, failed=False)
    assert lender.shared(CLOCK) is first is not warm
    assert slots.booted == 1


def test_who_changes_a_guest_that_was_booted_leaves_it_to_nobody(lender, slots):
    changer = demand(untouched_clock=True, changes_guest=True)
    first = lender.shared(changer)
    lender.finish(changer, failed=False)
    assert slots.released == [first.name]
    assert lender.shared(CLOCK) is not first


def test_a_guest_that_was_booted_makes_room_for_others(lender, slots):
    first = lender.shared(CLOCK)
    lender.finish(CLOCK, failed=False)
    lender.shared(demand())
    assert slots.released == [first.name]


def test_a_guest_that_is_handed_on_spares_a_boot(lender, slots):
    """The test that booted it keeps it until its end."""
    guests = Guests(lender, demand(), "boots")
    booted = guests.create()
    guests.hand_on(booted)
    lender.finish(demand(), failed=False)
    assert slots.released == []
    assert lender.shared(CLOCK) is booted
    assert slots.booted == 1


@pytest.mark.parametrize(("changes", "failed"), [(True, False), (False, True)])
def test_a_guest_that_nobody_knows_any_more_is_not_handed_on(lender, slots, changes, failed):
    """Nor by a later test, which handed nothing on."""
    guests = Guests(lender, demand(), "boots")
    booted = guests.create()
    guests.hand_on(booted)
    lender.finish(demand(changes_guest=changes), failed=failed)
    lender.finish(demand(), failed=False)
    assert slots.released == [booted.name]
    assert lender.shared(CLOCK) is not booted


@pytest.mark.parametrize("lend", [lambda lender: lender.shared(demand()), lambda lender: lender.fresh(Shape())])
def test_a_guest_that_was_a_checkpoint_is_not_handed_on(lender, lend):
    """Its clock was set: whoever looked at it would see the harness's work."""
    guests = Guests(lender, demand(), "starts")
    with pytest.raises(UsageError, match="the harness set its clock"):
        guests.hand_on(lend(lender))


def test_a_guest_of_an_earlier_test_is_not_handed_on(lender):
    guests = Guests(lender, demand(), "boots")
    booted = guests.create()
    lender.finish(demand(), failed=False)
    with pytest.raises(UsageError, match="cannot be handed on"):
        guests.hand_on(booted)


def test_of_several_that_are_handed_on_one_stays(lender, slots):
    guests = Guests(lender, demand(), "boots")
    for one in (guests.create(), guests.create()):
        guests.hand_on(one)
    lender.finish(demand(), failed=False)
    assert slots.released == ["guest 2"]
    lender.close()
    assert slots.released == ["guest 2", "guest 1"]


def test_a_failed_test_s_guest_is_not_shared_either(lender, slots):
    lender.shared(demand())
    lender.finish(demand(), failed=True)
    assert slots.released == ["guest 1"]


def test_a_peer_is_another_guest(lender):
    assert lender.shared(demand()) is not lender.peer(demand())


def test_a_shape_that_never_boots_is_waited_for_once(lender, slots):
    slots.fault = GuestError("it never became ready")
    for _ in range(3):
        with pytest.raises(GuestError, match="never became ready"):
            lender.shared(demand())
    assert slots.asked == 1


def test_after_a_dead_network_others_are_blocked_and_not_failed(lender, slots):
    slots.fault = NetworkDead("it lives, its network does not")
    with pytest.raises(NetworkDead):
        lender.shared(demand())
    with pytest.raises(pytest.skip.Exception, match="blocked"):
        lender.shared(demand())
    assert slots.asked == 1


def test_the_first_guest_says_what_it_is_made_of(lender):
    lender.shared(demand())
    assert lender.seen == {
        "kernel": "6.1",
        "distribution": "SLES",
        "SELinux": "enforcing",
        "network by": "something else",
    }


def test_a_guest_that_cannot_say_so_is_lent_all_the_same(lender, slots):
    """What the report would like to know is no test's affair."""
    slots.mute = True
    assert lender.shared(demand()).name == "guest 1"
    assert lender.seen == {"kernel": "6.1"}


def test_a_release_that_is_not_what_it_says_is_installed_once(lender, slots):
    """Every test says so, and none waits for it again."""
    slots.fault = Unchanged("acme.yaml: the candidate is as the baseline")
    for _ in range(3):
        with pytest.raises(Unchanged, match="as the baseline"):
            lender.shared(demand())
    assert slots.asked == 1


def test_what_was_seen_when_a_release_was_installed_is_kept_for_the_report(lender, slots):
    """Of the first guest that has it, whoever asked for it."""
    slots.installed = lambda guest: f"seen in {guest.name}"
    lender.fresh(Shape())
    lender.shared(demand())
    assert lender.installed == "seen in guest 1"


def test_a_guest_that_cannot_get_the_release_is_no_failure(lender, slots):
    """Without a NIC there is no ssh, and with another version the test would tell of the image."""
    release = SimpleNamespace(name="acme")
    slots.prepared = SimpleNamespace(image=None, release=release, patience=timedelta())
    for ask in (lender.fresh, lender.cold):
        with pytest.raises(pytest.skip.Exception, match="the release acme is installed over ssh"):
            ask(Shape(nics=0))
    assert lender.fresh(Shape()).name == "guest 1"
