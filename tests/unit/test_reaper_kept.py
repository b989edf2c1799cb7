"""What the reaper makes of guests that are kept: for a closer look, or warm for the next run."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.backends.model import Endpoint
from harness.backends.views import ResourceKind
from harness.core import Deadline, LabError
from harness.lab import Run
from harness.lab.connect import scratch
from harness.lab.judge import Fate, Wish
from harness.lab.keep import Kept, KeptGuest, drop_warm, keep_warm
from harness.lab.reaper import Reaper
from harness.lab.warm import SHELF, Record
from harness.lab.warm import Shelf as Warm
from tests.unit.reaped_lab import SOON, die


def test_a_kept_guest_stays_with_its_lease_until_its_time_is_over(scene):
    run = scene.begin()
    scene.make(run, "kept")
    capacity = run.leases.one_of("capacity-like", "near", ["only one"], Deadline.after(0))
    until = datetime.fromtimestamp(scene.clock, UTC) + SOON
    guest = KeptGuest(
        "k1",
        scene.lab.path,
        "near",
        "kept",
        run.id,
        until,
        Endpoint("127.77.0.1"),
        Path("key"),
        Path("hosts"),
        "root",
        "t",
    )
    Kept(scene.store).add(guest, [capacity])
    run.close()
    assert scene.reap() == {"kept": Fate.KEPT}
    with pytest.raises(LabError, match="1 of 1 leased"):
        scene.begin().leases.one_of("capacity-like", "near", ["only one"], Deadline.after(0))
    scene.clock += 2 * SOON.total_seconds()
    assert scene.reap() == {"kept": Fate.REMOVED}
    assert Kept(scene.store).all() == []
    scene.begin().leases.one_of("capacity-like", "near", ["only one"], Deadline.after(0))


def test_a_released_guest_is_reaped_at_once(scene):
    run = scene.begin()
    scene.make(run, "kept")
    kept = Kept(scene.store, scene.liveness.now)
    until = kept.extend(
        KeptGuest(
            "k1",
            scene.lab.path,
            "near",
            "kept",
            run.id,
            datetime.now(UTC),
            Endpoint("x"),
            Path("k"),
            Path("h"),
            "root",
            "t",
        ),
        SOON,
    )
    assert until.timestamp() == scene.clock + SOON.total_seconds()
    run.close()
    assert scene.reap() == {"kept": Fate.REMOVED}


def test_the_checkpoint_of_a_warm_slot_stays_with_it(scene):
    """Whoever takes a slot's checkpoint makes it a cold boot again."""
    run = scene.begin()
    scene.make(run, "slot")
    with run.ledger("near").creating(ResourceKind.CHECKPOINT, "slot/warm") as creation:
        creation.made("slot/warm")
    keep_warm(scene.store, scene.lab.path, "near", "slot")
    die(run)
    assert scene.reap() == {"slot": Fate.WARM, "slot/warm": Fate.WARM}


def test_a_warm_slot_whose_run_was_killed_is_switched_off_and_stays(scene):
    """It would hold memory for nobody, in this process's part of a host or another's. One that is off, or of a living
    process, is left as it is.
    """
    shelf, run = scene.shelves["near"], scene.dead()
    fates = dict.fromkeys(("runs", "rests", "lost", "left", "used"), Fate.WARM)
    fates |= dict.fromkeys(("hangs", "stuck", "mute"), Fate.FAILED)
    for handle in fates:
        scene.make(run, handle)
        keep_warm(scene.store, scene.lab.path, "near", handle)
    shelf.running, shelf.stuck = {"runs", "hangs", "lost", "stuck", "used"}, {"hangs", "stuck"}
    shelf.elsewhere, shelf.living, shelf.mute = {"lost", "stuck", "left", "used"}, {"used"}, {"mute"}
    assert set(scene.reap(dry_run=True).values()) == {Fate.WARM}
    assert shelf.running == {"runs", "hangs", "lost", "stuck", "used"}
    assert scene.reap() == fates
    assert shelf.running == {"hangs", "stuck", "used"}
    details = {finding.thing.handle: finding.detail for finding in scene.findings}
    assert {handle for handle, detail in details.items() if "switched off;" in detail} == {"runs", "lost"}
    assert {handle for handle, detail in details.items() if "it does not stop" in detail} == {"hangs", "stuck"}
    assert "connection lost" in details["mute"]


def test_warm_slots_are_cache_until_asked_for(scene):
    run = scene.begin()
    scene.make(run, "slot")
    keep_warm(scene.store, scene.lab.path, "near", "slot")
    run.close()
    assert scene.reap() == {"slot": Fate.WARM}
    user = scene.begin()
    assert scene.reap(warm=True) == {"slot": Fate.LIVE}
    user.close()
    assert scene.reap(warm=True) == {"slot": Fate.REMOVED}


@pytest.fixture
def outfits(scene, tmp_path, monkeypatch):
    """Makes what a run keeps of a guest on this controller: a folder with its key, journalled."""
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))

    def make(run: Run, name: str) -> Path:
        folder = scratch(scene.lab.hosts["near"]) / SHELF / name
        with run.ledger("near").creating(ResourceKind.SEED, name) as creation:
            folder.mkdir(parents=True)
            creation.made(name)
        (folder / "key").write_text("secret")
        return folder

    return make


def test_keys_and_seeds_of_a_dead_run_s_guests_go_from_this_controller(scene, outfits):
    """No host is asked for them; a living run's stay."""
    living, dead = outfits(scene.begin(), "alive"), outfits(scene.dead(), "dead")
    assert scene.reap(dry_run=True) == {"dead": Fate.DOOMED}
    assert dead.exists()
    assert scene.reap() == {"dead": Fate.REMOVED}
    assert (living.exists(), dead.exists()) == (True, False)
    assert scene.reap() == {}


def test_the_key_of_a_warm_slot_stays_as_long_as_the_slot(scene, outfits):
    """Without it nobody could enter the guest again."""
    folder = outfits(scene.dead(), "guest")
    record = Record("guest", "warm", "", None, "", "", 0, 0.0)
    Warm(folder.parent).put(record)
    keep_warm(scene.store, scene.lab.path, "near", "warm")
    reaper = Reaper(scene.lab, scene.store, scene.liveness, Wish(), scene.open)
    assert (reaper.expected(), scene.reap()) == ([], {})
    drop_warm(scene.store, scene.lab.path, "near", "warm")
    assert [found.thing.handle for found in reaper.expected()] == ["guest"]
    assert scene.reap() == {"guest": Fate.REMOVED}
    assert not folder.exists()
