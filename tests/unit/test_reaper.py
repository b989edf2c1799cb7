"""The reaper's judgement, on a host that is a list of things in memory."""

import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from harness.backends.model import Ownership
from harness.backends.views import Owned
from harness.core import Deadline, LabError
from harness.image.store import Store as Images
from harness.lab import Run, load_lab
from harness.lab.journal import entries
from harness.lab.judge import Fate, Wish
from harness.lab.keep import keep_warm
from harness.lab.keys import token
from harness.lab.liveness import Liveness
from harness.lab.reaper import Reaper, journalled_labs
from harness.lab.store import open_store
from tests.unit.reaped_lab import DISK, MACHINE, SOON, die


def test_a_dead_run_s_things_go_and_a_living_one_s_stay(scene):
    living, dead = scene.begin(), scene.begin()
    scene.make(living, "a")
    scene.make(dead, "b")
    scene.make(dead, "c", DISK, "far")
    die(dead)
    assert scene.reap() == {"a": Fate.LIVE, "b": Fate.REMOVED, "c": Fate.REMOVED}
    assert scene.shelves["near"].has() | scene.shelves["far"].has() == {"a"}
    assert [entry.handle for entry in entries(scene.store)] == ["a"]


def test_reaping_twice_finds_nothing_the_second_time(scene):
    run = scene.begin()
    scene.make(run, "a")
    die(run)
    scene.reap()
    assert scene.reap() == {}


def test_what_an_ended_run_left_goes_as_well(scene):
    run = scene.begin()
    scene.make(run, "a")
    run.close()
    assert scene.reap() == {"a": Fate.REMOVED}


def test_what_is_to_be_reaped_is_known_without_asking_a_host(scene):
    """From the journal: what a next run looks at before it begins. What living runs have does not count."""
    alive, dead = scene.begin(), scene.dead()
    scene.make(alive, "mine")
    scene.make(dead, "left")
    reaper = Reaper(scene.lab, scene.store, scene.liveness, Wish(), open_host=None)
    assert [(found.host, found.thing.handle) for found in reaper.expected()] == [("near", "left")]


def test_a_warm_slot_is_to_be_looked_after_once_some_run_was_killed(scene):
    """Whichever run made it, the killed one may have left it running; whoever reaped has seen to that."""
    maker = scene.begin()
    scene.make(maker, "warm")
    keep_warm(scene.store, scene.lab.path, "near", "warm")
    maker.close()
    reaper = Reaper(scene.lab, scene.store, scene.liveness, Wish(), open_host=None)
    assert reaper.expected() == []
    scene.dead()
    assert [(found.thing.handle, found.fate) for found in reaper.expected()] == [("warm", Fate.WARM)]
    scene.reap()
    assert reaper.expected() == []


def test_a_dry_run_touches_nothing(scene):
    run = scene.begin()
    scene.make(run, "a")
    die(run)
    assert scene.reap(dry_run=True) == {"a": Fate.DOOMED}
    assert scene.shelves["near"].has() == {"a"}
    assert len(entries(scene.store)) == 1


def test_an_intent_without_a_handle_is_found_by_its_name(scene):
    run = scene.begin()
    with run.ledger("near").creating(MACHINE, "half"):
        scene.shelves["near"].things.append(Owned(MACHINE, "uuid-half", None, "half"))
    with run.ledger("near").creating(MACHINE, "never-made"):
        pass
    die(run)
    assert scene.reap() == {"uuid-half": Fate.REMOVED, "never-made": Fate.REMOVED}
    assert scene.shelves["near"].has() == set()
    assert entries(scene.store) == []


def test_what_a_host_may_still_be_making_is_looked_for_until_it_had_time(scene):
    """Its process died with the question asked; struck out now, it would come later and nobody would know."""
    scene.clock = time.time()  # the journal's
    run = scene.dead()
    for host in ("near", "far"):
        with suppress(ZeroDivisionError), run.ledger(host).creating(MACHINE, f"{host}-asked"):
            raise ZeroDivisionError
    assert scene.reap() == {"near-asked": Fate.MAKING, "far-asked": Fate.MAKING}
    scene.shelves["far"].things.append(Owned(MACHINE, "came", run.owner, "far-asked"))
    assert scene.reap() == {"near-asked": Fate.MAKING, "came": Fate.REMOVED}
    scene.clock += 3600
    assert scene.reap() == {"near-asked": Fate.REMOVED}
    assert scene.reap() == {}


def test_a_mark_without_a_journal_entry_is_enough(scene):
    run = scene.begin()
    scene.shelves["near"].things.append(Owned(MACHINE, "lost", run.owner))
    die(run)
    assert scene.reap() == {"lost": Fate.REMOVED}


def test_a_run_id_with_another_token_is_somebody_else_s(scene):
    run = scene.dead()
    theirs = Ownership(run.id, "their-token", datetime.fromtimestamp(0, UTC))
    scene.shelves["near"].things.append(Owned(MACHINE, "theirs", theirs))
    assert scene.reap(force_expired=True) == {"theirs": Fate.FOREIGN}


def test_an_unknown_run_s_things_wait_for_their_expiry_and_for_force(scene):
    now = datetime.fromtimestamp(scene.clock, UTC)
    scene.shelves["far"].things = [
        Owned(MACHINE, "fresh", Ownership("elsewhere1", scene.token("elsewhere1"), now + SOON)),
        Owned(MACHINE, "stale", Ownership("elsewhere2", scene.token("elsewhere2"), now - SOON)),
    ]
    assert scene.reap() == {"fresh": Fate.UNKNOWN, "stale": Fate.UNKNOWN}
    assert scene.reap(force_expired=True) == {"fresh": Fate.UNKNOWN, "stale": Fate.REMOVED}


def test_a_token_that_was_not_made_with_the_lab_s_key_is_somebody_else_s(scene):
    """Of a run that nobody here knows, the token of another one, and one of another lab's key."""
    past = datetime.fromtimestamp(scene.clock, UTC) - SOON
    scene.shelves["far"].things = [
        Owned(MACHINE, "copied", Ownership("elsewhere1", scene.token("elsewhere2"), past)),
        Owned(MACHINE, "theirs", Ownership("elsewhere1", token(b"k" * 32, "elsewhere1"), past)),
    ]
    assert scene.reap(force_expired=True) == {"copied": Fate.FOREIGN, "theirs": Fate.FOREIGN}


def test_an_unmarked_thing_may_be_in_the_making_while_any_run_lives(scene):
    scene.shelves["near"].things.append(Owned(MACHINE, "unmarked", None))
    living = scene.begin()
    assert scene.reap() == {"unmarked": Fate.LIVE}
    die(living)
    assert scene.reap() == {"unmarked": Fate.REMOVED}


def test_an_unmarked_thing_on_a_shared_host_may_be_another_controller_s(scene):
    scene.shelves["far"].things.append(Owned(DISK, "upload", None))
    assert scene.reap() == {"upload": Fate.UNKNOWN}
    assert scene.reap(force_expired=True) == {"upload": Fate.REMOVED}


def test_what_does_not_carry_our_mark_is_refused_by_the_host_and_stays_in_the_journal(scene):
    run = scene.begin()
    with run.ledger("near").creating(MACHINE, "somebody-s-vm"):
        pass
    die(run)
    assert scene.reap() == {"somebody-s-vm": Fate.FAILED}
    assert len(entries(scene.store)) == 1


def test_one_failure_does_not_stop_the_others_and_is_tried_again(scene):
    run = scene.begin()
    for handle in "abc":
        scene.make(run, handle)
    die(run)
    scene.shelves["near"].stuck = {"b"}
    assert scene.reap() == {"a": Fate.REMOVED, "b": Fate.FAILED, "c": Fate.REMOVED}
    assert next(f.detail for f in scene.findings if f.fate is Fate.FAILED) == "near: remove: the disk is in use"
    scene.shelves["near"].stuck = set()
    assert scene.reap() == {"b": Fate.REMOVED}


def test_a_host_that_cannot_be_opened_is_told_and_keeps_its_journal(scene):
    run = scene.begin()
    scene.make(run, "a", host="far")
    scene.make(run, "b", host="near")
    die(run)
    far, scene.shelves["far"] = scene.shelves["far"], LabError("connection refused", host="far")
    assert scene.reap() == {"far": Fate.FAILED, "b": Fate.REMOVED}
    scene.shelves["far"] = far
    assert scene.reap() == {"a": Fate.REMOVED}


def test_a_host_that_left_the_lab_file_is_told(scene):
    run = scene.begin()
    with run.ledger("gone-host").creating(MACHINE, "a"):
        pass
    die(run)
    assert scene.reap() == {"a": Fate.FAILED}
    assert "no host 'gone-host' any more" in scene.findings[0].detail


def test_machines_go_before_the_disks_they_stand_on(scene):
    run = scene.begin()
    scene.make(run, "disk", DISK)
    scene.make(run, "machine", MACHINE)
    die(run)
    scene.reap()
    assert [finding.thing.handle for finding in scene.findings] == ["machine", "disk"]


def test_one_run_s_things_can_be_reaped_alone(scene):
    one, two = scene.begin(), scene.begin()
    scene.make(one, "a")
    scene.make(two, "b")
    die(one)
    die(two)
    assert scene.reap(run=one.id) == {"a": Fate.REMOVED}
    assert scene.shelves["near"].has() == {"b"}


def test_a_dead_worker_s_things_go_while_its_run_lives(scene):
    main = scene.begin()
    worker = Run.join(scene.lab, **main.share(), store=scene.store, liveness=scene.liveness)
    scene.runs.append(worker)
    scene.make(main, "of-main")
    scene.make(worker, "of-worker")
    die(worker)
    assert scene.reap() == {"of-main": Fate.LIVE, "of-worker": Fate.REMOVED}


def test_a_reaped_run_may_not_act_any_more(scene):
    """It may only have been stopped, with its lock lost (a suspended machine, a removed folder)."""
    run = scene.dead()
    scene.reap()
    with pytest.raises(LabError, match="taken for dead and reaped"):
        run.check()


def test_what_a_killed_process_was_converting_goes_from_this_controller(scene, tmp_path, monkeypatch):
    """A half disk beside the whole ones; a dry run tells of it."""
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    half = Images().root / "store" / "recipe" / ".new-1.vmdk"
    half.parent.mkdir()
    half.write_bytes(b"half")
    assert scene.reap(dry_run=True) == {str(half): Fate.DOOMED}
    assert scene.reap() == {str(half): Fate.REMOVED}
    assert not half.exists()


def test_a_dead_run_s_leases_are_freed(scene):
    run = scene.begin()
    run.leases.quiet("this-machine", Deadline.after(0))
    die(run)
    scene.reap()
    assert scene.store.rows("SELECT * FROM leases WHERE kind = 'quiet'") == []
    assert list(scene.liveness.folder.iterdir()) == []


def test_hosts_are_closed_again(scene):
    scene.reap()
    assert scene.shelves["near"].closed
    assert scene.shelves["far"].closed


def test_a_lab_file_that_is_gone_is_read_as_it_was(tmp_path):
    """Who deletes or edits a lab file must not make its hosts' things unreachable for ever."""
    path = tmp_path / "lab.yaml"
    path.write_text("hosts: {old: {backend: kvm}}\nnetworks: {management: {kind: user}}\n")
    store, liveness = open_store(tmp_path), Liveness(tmp_path / "runs")
    with Run.begin(load_lab(path), store=store, liveness=liveness) as run, run.ledger("old").creating(MACHINE, "a"):
        pass
    path.unlink()
    assert list(journalled_labs(store)[str(path)].hosts) == ["old"]
    path.write_text("hosts: {new: {backend: kvm}}\nnetworks: {management: {kind: user}}\n")
    assert set(journalled_labs(store)[str(path)].hosts) == {"old", "new"}
    path.write_text("hosts: {new: {backend: kvm")
    assert list(journalled_labs(store)[str(path)].hosts) == ["old"]
