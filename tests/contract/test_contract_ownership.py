"""Everything made is journalled before, marked while it is there, and removed alone; nothing foreign is touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from harness.backends import protocol
from harness.backends.capabilities import Capability
from harness.backends.model import DiskSpec, Ownership, PowerState
from harness.backends.protocol import LeaseLost, Refused
from harness.backends.views import Owned, ResourceKind
from harness.core import InteropError, LabError, MiB, Size
from harness.lab.journal import entries
from tests.contract.ledger import PlantedFault

ELSE = "00000000-0000-4000-8000-000000000001"


def intents(site, machine):
    """What the journal knows of a machine, by kind and handle."""
    found = entries(site.run.store, run=site.run.id)
    return {(entry.kind, entry.handle) for entry in found if entry.handle and machine in entry.handle}


def test_a_machine_is_owned_by_its_run(site, machine):
    """With token and an expiry to come; it is not among another run's things."""
    (mine,) = [thing for thing in site.owned() if thing.handle == machine.id]
    assert mine.kind is ResourceKind.MACHINE
    assert mine.owner is not None
    assert (mine.owner.run, mine.owner.token) == (site.run.id, site.run.token)
    assert mine.owner.expiry > datetime.now(UTC)
    assert machine.id not in {thing.handle for thing in site.hypervisor.owned(site.deadline(), "another-run")}
    assert machine.id in {thing.handle for thing in site.hypervisor.owned(site.deadline())}


def test_a_machine_is_opened_with_everything_that_was_asked(site, machine):
    """By another connection, as another process would."""
    again = site.connect()
    try:
        opened = again.open(machine.id, site.deadline())
        assert opened.id == machine.id
        assert opened.spec == machine.spec
        assert opened.view(site.deadline()).state is PowerState.OFF
    finally:
        again.close()


def test_annotations_travel_with_the_machine(site):
    """Whatever was written on it."""
    made = site.create(annotations={"slot": "a/b 'c' <d> & \"e\" \u00e4"})
    opened = site.hypervisor.open(made.id, site.deadline())
    assert opened.spec.annotations == {"slot": "a/b 'c' <d> & \"e\" \u00e4"}
    site.destroy(made)


def test_the_journal_has_the_machine_while_it_is_there(site, machine):
    """Its handle is the host's; after the destroy it is gone from there as well."""
    assert (ResourceKind.MACHINE, machine.id) in intents(site, machine.id)
    machine.destroy(site.deadline())
    assert intents(site, machine.id) == set()


def test_nothing_is_made_before_its_intent_is_written(site):
    """Whichever intent cannot be written, the host shows nothing that the journal does not know."""
    spec, _ = site.order()
    before = site.handles()
    count = len(site.witness.notes)
    for written in range(8):
        try:
            with site.witness.refusing_intents(after=written):
                made = site.hypervisor.create(replace(spec, name=f"{spec.name}-{written}"), site.deadline())
        except PlantedFault:
            known = {note.word for note in site.witness.since(count) if note.step == "intent"}
            new = site.handles() - before
            assert all(any(word in handle for word in known) for handle in new), (new, known)
        else:
            made.destroy(site.deadline())
            break
    else:
        pytest.fail("create wrote more than eight intents")
    assert written > 0, "create wrote no intent at all"
    for thing in site.owned():
        if thing.handle not in before:
            site.hypervisor.remove(thing, site.deadline())
    assert site.handles() == before
    site.forget(spec)


def test_what_was_made_without_its_handle_noted_is_found_and_removed(site):
    """As if the process died in between: the host shows it with our mark."""
    spec, _ = site.order()
    before = site.handles()
    with pytest.raises(PlantedFault), site.witness.refusing_handles():
        site.make(spec)
    things = [thing for thing in site.owned() if thing.handle not in before]
    assert things
    for thing in things:
        assert thing.owner is not None
        assert thing.owner.token == site.run.token
        site.hypervisor.remove(thing, site.deadline())
        site.hypervisor.remove(thing, site.deadline())
    assert site.handles() == before
    site.forget(spec)


def test_intent_comes_first_then_the_handle(site, machine):
    """Of everything the machine consists of."""
    notes = [note for note in site.witness.notes if note.kind is ResourceKind.MACHINE]
    made = next(index for index, note in enumerate(notes) if (note.step, note.word) == ("made", machine.id))
    assert notes[made - 1].step == "intent"


MUTATING = [
    ("start", protocol.Machine, lambda m, d: m.start(d)),
    ("resize", protocol.Machine, lambda m, d: m.resize(d, memory=Size(300 * MiB))),
    ("destroy", protocol.Machine, lambda m, d: m.destroy(d)),
    ("checkpoint", protocol.Checkpointed, lambda m, d: m.checkpoint("x", d, memory=False)),
    ("attach_disk", protocol.DiskPlug, lambda m, d: m.attach_disk(DiskSpec("x", Size(8 * MiB)), d)),
]


@pytest.mark.parametrize(("verb", "kind", "call"), MUTATING, ids=lambda value: value if isinstance(value, str) else "")
def test_without_its_lease_a_run_changes_nothing(site, machine, verb, kind, call):
    """The verb says that the lease is lost; the machine is what it was."""
    if not isinstance(machine, kind):
        pytest.skip(f"this machine has no {kind.__name__}")
    before = site.view(machine)
    with site.witness.without_lease(), pytest.raises(LeaseLost):
        call(machine, site.deadline())
    after = site.view(machine)
    assert (after.state, after.memory, after.disks) == (before.state, before.memory, before.disks)
    assert not isinstance(machine, protocol.Checkpointed) or machine.checkpoints(site.deadline()) == ()


def test_without_its_lease_a_run_makes_nothing(site):
    """No machine, no disk, no folder."""
    spec, _ = site.order()
    before = site.handles()
    with site.witness.without_lease(), pytest.raises(LeaseLost):
        site.make(spec)
    assert site.handles() == before
    site.forget(spec)


RUNNING_VERBS = [
    ("stop", protocol.Machine, lambda m, d: m.stop(d)),
    ("reset", protocol.Machine, lambda m, d: m.reset(d)),
    ("pause", protocol.Pausable, lambda m, d: m.pause(d)),
    ("save", protocol.Savable, lambda m, d: m.save(d)),
    ("checkpoint", protocol.Checkpointed, lambda m, d: m.checkpoint("x", d, memory=True)),
    ("quiesced checkpoint", protocol.Quiescing, lambda m, d: m.quiesced_checkpoint("x", d)),
    ("balloon", protocol.Ballooning, lambda m, d: m.balloon(Size(128 * MiB), d)),
    ("shutdown", protocol.ShutdownRequest, lambda m, d: m.shutdown(d)),
    ("nmi", protocol.NmiInjector, lambda m, d: m.nmi(d)),
    ("link", protocol.LinkSwitch, lambda m, d: m.link(m.spec.nics[0].mac, False, d)),
]


@pytest.fixture(scope="module")
def started(site):
    """One running machine for the table above: nothing in it may change it."""
    made = site.create()
    made.start(site.deadline())
    yield made
    site.destroy(made)


@pytest.mark.parametrize(
    ("verb", "kind", "call"), RUNNING_VERBS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_without_its_lease_a_run_leaves_a_running_machine_alone(site, started, verb, kind, call):
    """It may have been reaped, and the machine be somebody else's by now."""
    if not isinstance(started, kind):
        pytest.skip(f"this machine has no {kind.__name__}")
    with site.witness.without_lease(), pytest.raises(LeaseLost):
        call(started, site.deadline(20))
    view = site.view(started)
    assert view.state is PowerState.RUNNING
    assert all(nic.connected for nic in view.nics)


def test_a_things_token_decides_whose_it_is(site, machine):
    """The right run with another token is somebody else's, and stays."""
    (mine,) = [thing for thing in site.owned() if thing.handle == machine.id]
    assert mine.owner is not None
    theirs = replace(mine, owner=replace(mine.owner, token="another-token"))
    with pytest.raises(Refused):
        site.hypervisor.remove(theirs, site.deadline())
    assert machine.id in site.handles()


def test_a_foreign_machine_is_not_shown_opened_or_removed(site):
    """Not even when it is named as ours."""
    if site.column.foreign is None:
        pytest.skip("no way to make a foreign machine on this backend")
    owner = Ownership(site.run.id, site.run.token, datetime.now(UTC) - timedelta(days=1))
    with site.column.foreign(site) as foreign:
        assert foreign not in {thing.handle for thing in site.hypervisor.owned(site.deadline())}
        with pytest.raises(LabError):
            site.hypervisor.open(foreign, site.deadline())
        with pytest.raises(Refused):
            site.hypervisor.remove(Owned(ResourceKind.MACHINE, foreign, owner), site.deadline())
        assert site.column.present(site, foreign)


def test_removing_what_is_not_there_is_no_error(site):
    """Idempotent: another reaper may have been first."""
    site.hypervisor.remove(Owned(ResourceKind.MACHINE, ELSE, site.run.owner), site.deadline())


def test_a_name_that_is_taken_is_refused_and_nothing_is_left(site, machine):
    """The machine that has it is unharmed."""
    spec, _ = site.order()
    before = site.handles()
    with pytest.raises(InteropError):
        site.make(replace(spec, name=machine.spec.name))
    site.forget(spec)
    assert site.view(machine).state is PowerState.OFF
    left = site.handles() - before
    for thing in site.owned():
        if thing.handle in left:
            site.hypervisor.remove(thing, site.deadline())
    assert site.handles() == before
    machine.start(site.deadline())


@pytest.mark.proves(Capability.LINKED_CLONE)
def test_publishing_again_gives_the_same_image(site):
    """Once by content."""
    again = site.hypervisor.publish(site.image, site.deadline(1800))
    assert again == site.published
    assert again.digest == site.image.digest
