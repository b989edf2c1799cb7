"""Releases and slots: installed once for a slot, before its checkpoint, and in no guest that is asked for bare."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from harness.backends.model import PowerState, Shape
from harness.core import Deadline, GiB, Size
from harness.image.model import Format, Image
from harness.lab import Run, load_lab
from harness.lab.releases import Installed, InstallFailed
from harness.lab.slots import Slots
from tests.unit.fake_host import InstantGuest, MemoryHost

IMAGE = Image("test", "d" * 64, {Format.QCOW2: "disk.qcow2"}, Size(GiB))


@dataclass(frozen=True)
class Acme:
    """A release that installs at once."""

    digest: str = "a" * 64
    which: str = "candidate"
    image: str = ""
    release = SimpleNamespace(word=lambda which: "acme")


class Obedient(InstantGuest):
    """Switches its machine off when it is asked to."""

    def run(self, argv):
        assert argv[-1] == "poweroff"
        self.said.append("poweroff")
        self.machine.state = PowerState.OFF


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.lab.making.Guest", Obedient)
    monkeypatch.setattr(Obedient, "sick", set())

    def bring(guest, prepared, deadline):
        assert guest.machine.state is PowerState.RUNNING
        assert "checkpoint" not in guest.machine.verbs
        guest.said.append(f"installed {prepared.digest[:1]}")
        return Installed("acme", "candidate", prepared.digest, {}, {"package acme": "2.0"})

    monkeypatch.setattr("harness.lab.slots.bring", bring)


@pytest.fixture
def run():
    with Run.begin(load_lab("local")) as run:
        yield run


@pytest.fixture
def host():
    return MemoryHost()


def make(run, host, prepared=None):
    return Slots(run, run.lab.hosts["kvm"], host, IMAGE, prepared=prepared)


def test_a_release_is_installed_once_before_the_checkpoint(run, host):
    """Later guests of the shape are reverts, and have it."""
    slots = make(run, host, Acme())
    first = slots.fresh(Shape(), soon())
    assert first.said == ["ready", "installed a", "settle", *["disconnect"] * 2, "ready", "clock set"]
    assert first.machine.verbs[-2:] == ["checkpoint", "revert"], "the first is measured as all later ones"
    assert slots.installed(first).after == {"package acme": "2.0"}
    slots.release(first)
    again = slots.fresh(Shape(), soon())
    assert again is first
    assert again.said.count("installed a") == 1


def test_the_next_run_finds_it_installed(run, host):
    """With what was seen then: the record of that run says it, too."""
    slots = make(run, host, Acme())
    slots.release(slots.fresh(Shape(), soon()))
    slots.close()
    later = make(run, host, Acme())
    guest = later.fresh(Shape(), soon())
    assert guest.machine.verbs[-1] == "revert"
    assert "installed a" not in guest.said
    assert later.installed(guest).after == {"package acme": "2.0"}


def test_releases_have_slots_of_their_own(run, host):
    """Another one, the other side, none, and a guest that is asked for bare."""
    slots = make(run, host, Acme())
    guests = [slots.fresh(Shape(), soon()), slots.fresh(Shape(), soon(), bare=True)]
    for guest in guests:
        slots.release(guest)
    assert slots.installed(guests[0])
    assert slots.installed(guests[1]) is None
    assert [slots.fresh(Shape(), soon(), bare=bare) for bare in (False, True)] == guests
    slots.close()
    other = make(run, host, Acme("b" * 64)).fresh(Shape(), soon())
    assert "installed b" in other.said
    assert "revert" in make(run, host).fresh(Shape(), soon()).machine.verbs


def test_a_guest_that_is_booted_cold_has_it_too(run, host):
    """Its clock is still nobody's but its own."""
    guest = make(run, host, Acme()).cold(Shape(), soon())
    assert guest.said == ["ready", "installed a"]


def test_a_guest_that_is_off_was_on_to_get_it(run, host):
    """It goes off by its own shutdown, asked over ssh."""
    guest = make(run, host, Acme()).cold(Shape(), soon(), boot=False)
    assert guest.said == ["ready", "installed a", "poweroff", "disconnect"]
    assert guest.machine.state is PowerState.OFF
    assert make(run, host, Acme()).cold(Shape(), soon(), boot=False, bare=True).said == []


def test_a_guest_in_which_it_does_not_install_is_not_kept(run, host, monkeypatch):
    """Nobody gets a guest with half a release."""

    def refuse(guest, prepared, deadline):
        raise InstallFailed("dpkg ended with 1")

    monkeypatch.setattr("harness.lab.slots.bring", refuse)
    slots = make(run, host, Acme())
    for ask in (slots.fresh, slots.cold):
        with pytest.raises(InstallFailed):
            ask(Shape(), soon())
    assert host.alive == []
