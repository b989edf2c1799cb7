"""The reaper's judgement, on a host that is a list of things in memory."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.backends.model import Endpoint, Owned, Ownership, PowerState, ResourceKind
from harness.backends.protocol import Refused
from harness.backends.registry import HostSettings
from harness.core import Deadline, LabError
from harness.image.store import Store as Images
from harness.lab import Host, Lab, Run, load_lab
from harness.lab.connect import scratch
from harness.lab.journal import entries
from harness.lab.judge import Fate, Wish
from harness.lab.keep import Kept, KeptGuest, drop_warm, keep_warm
from harness.lab.keys import key_of, token
from harness.lab.liveness import Liveness
from harness.lab.models import Capacity, Limits
from harness.lab.reaper import Reaper, journalled_labs
from harness.lab.store import open_store
from harness.lab.warm import SHELF, Record
from harness.lab.warm import Shelf as Warm

MACHINE, DISK = ResourceKind.MACHINE, ResourceKind.DISK
SOON = timedelta(hours=1)


@dataclass
class Shelf:
    """A host that holds things and does what the protocol says of ``owned`` and ``remove``; it has no machines."""

    name: str
    things: list[Owned] = field(default_factory=list)
    strangers: set[str] = field(default_factory=lambda: {"somebody-s-vm"})
    stuck: set[str] = field(default_factory=set)
    closed: bool = False
    running: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    living: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)

    def open(self, handle, deadline):
        assert handle not in self.elsewhere
        if handle in self.mute:
            raise LabError("connection lost", host=self.name, operation="open")
        state = PowerState.RUNNING if handle in self.running else PowerState.OFF
        return SimpleNamespace(view=lambda _: SimpleNamespace(state=state), stop=lambda _: self._stop(handle))

    def _stop(self, handle):
        if handle in self.stuck:
            raise LabError("it does not stop", host=self.name, operation="stop")
        self.running.discard(handle)

    def reaches(self, handle):
        return handle not in self.elsewhere

    def halt(self, handle, deadline):
        assert handle in self.elsewhere
        if handle in self.living or handle not in self.running:
            return False
        self._stop(handle)
        return True

    def owned(self, deadline, run=None):
        return list(self.things)

    def remove(self, thing, deadline):
        if thing.handle in self.strangers:
            raise Refused("it does not carry our mark", host=self.name, operation="remove")
        if thing.handle in self.stuck:
            raise LabError("the disk is in use", host=self.name, operation="remove")
        self.things = [other for other in self.things if other.handle != thing.handle]

    def close(self):
        self.closed = True

    def has(self) -> set[str]:
        return {thing.handle for thing in self.things}


class Scene:
    """One controller, one lab with a near and a far host, and ways to make runs that live or are dead."""

    def __init__(self, folder: Path) -> None:
        self.clock = 1_800_000_000.0
        self.store = open_store(folder)
        self.liveness = Liveness(folder / "runs", now=lambda: self.clock)
        hosts = {
            name: Host(name, "shelf", name, HostSettings(), Capacity(), domain, "management", None, {})
            for name, domain in (("near", "this-machine"), ("far", "far"))
        }
        self.lab = Lab("lab", Path("/nowhere/lab.yaml"), hosts, {}, Limits())
        self.shelves = {"near": Shelf("near"), "far": Shelf("far")}
        self.runs = []

    def begin(self) -> Run:
        self.runs.append(Run.begin(self.lab, store=self.store, liveness=self.liveness))
        return self.runs[-1]

    def token(self, run: str) -> str:
        """The token of a run that another controller with the same key made."""
        return token(key_of(self.lab, self.store.folder), run)

    def dead(self) -> Run:
        """A run that died: its lock is free, nothing else was done."""
        run = self.begin()
        die(run)
        return run

    def make(self, run: Run, handle: str, kind=MACHINE, host="near", *, marked: bool = True) -> Owned:
        with run.ledger(host).creating(kind, f"name-{handle}") as creation:
            thing = Owned(kind, handle, run.owner if marked else None, f"name-{handle}")
            self.shelves[host].things.append(thing)
            creation.made(handle)
        return thing

    def open(self, host: Host, run: Run) -> Shelf:
        shelf = self.shelves[host.name]
        if isinstance(shelf, LabError):
            raise shelf
        return shelf

    def reap(self, **wish) -> dict[str, Fate]:
        """What became of each thing, by handle."""
        reaper = Reaper(self.lab, self.store, self.liveness, Wish(**wish), self.open)
        self.findings = list(reaper.reap(Deadline.after(60)))
        return {finding.thing.handle if finding.thing else finding.host: finding.fate for finding in self.findings}


def die(run: Run) -> None:
    run._stop.set()
    run._lock.release()


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    for run in scene.runs:
        run.close()


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
