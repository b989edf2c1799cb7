"""Lending guests: one checkpoint has one borrower, and what a borrower leaves behind is nobody else's problem."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harness.backends.model import Firmware, PowerState, Shape
from harness.backends.protocol import LeaseLost
from harness.backends.views import HostFacts
from harness.core import Deadline, GiB, LabError, Size
from harness.image.model import Access, Format, Image, SeedNetwork
from harness.lab import Run, load_lab
from harness.lab.keep import Kept, warm
from harness.lab.slots import Slots
from harness.lab.store import open_store
from harness.lab.warm import Record, Shelf, made_with, surplus
from tests.unit.fake_host import InstantGuest, MemoryHost

IMAGE = Image("test", "d" * 64, {Format.QCOW2: Path("disk.qcow2")}, Size(GiB))


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.lab.making.Guest", InstantGuest)
    monkeypatch.setattr(InstantGuest, "sick", set())


@pytest.fixture
def run():
    with Run.begin(load_lab("local")) as run:
        yield run


@pytest.fixture
def host():
    return MemoryHost()


@pytest.fixture
def slots(run, host):
    return make(run, host)


def make(run, host, image=IMAGE):
    return Slots(run, run.lab.hosts["kvm"], host, image)


def booked(run) -> tuple[int, int]:
    rows = run.store.rows("SELECT COUNT(*), COALESCE(SUM(vcpus), 0) FROM leases WHERE kind = 'capacity'")
    return rows[0][0], rows[0][1]


def test_the_first_guest_of_a_shape_is_booted_settled_and_checkpointed(slots, host):
    """With no connection open, or half of it would be in the checkpoint."""
    guest = slots.fresh(Shape(), soon())
    assert guest.machine.verbs == ["start", "checkpoint"]
    assert guest.said == ["ready", "settle", "disconnect", "ready", "clock set"]


def test_the_next_one_is_a_revert_with_its_clock_set_right(slots, host):
    """No second boot, and no time from the checkpoint."""
    first = slots.fresh(Shape(), soon())
    slots.release(first)
    again = slots.fresh(Shape(), soon())
    assert again is first
    assert again.machine.verbs == ["start", "checkpoint", "stop", "revert"]
    assert again.said[-2:] == ["ready", "clock set"]
    assert len(host.alive) == 1


@pytest.mark.parametrize("nics", [0, 1, 2])
def test_spare_nics_are_each_another_and_all_in_the_network_of_peers(slots, nics):
    """Also for a guest without any: the controller's network may take none while the guest runs."""
    guest = slots.cold(Shape(nics=nics), soon(), boot=False)
    spare = [slots.spare_nic(guest, soon()) for _ in range(3)]
    assert {nic.network.name for nic in spare} == {"peers"}
    everyone = [*guest.identity.nics, *spare]
    assert len({nic.mac for nic in everyone}) == len({nic.address for nic in everyone}) == nics + 3


def test_two_guests_alive_never_come_from_one_checkpoint(slots):
    """A second borrower gets another slot, that shares nothing with the first."""
    one, two = slots.fresh(Shape(nics=2), soon()), slots.fresh(Shape(nics=2), soon())
    assert one.machine is not two.machine
    for what in ("name", "machine_id", "login"):
        assert getattr(one.identity, what) != getattr(two.identity, what)
    assert not {nic.mac for nic in one.identity.nics} & {nic.mac for nic in two.identity.nics}
    assert one.identity.nics[0].forward != two.identity.nics[0].forward
    assert one.identity.nics[1].address != two.identity.nics[1].address
    assert one.identity.login.host_key != two.identity.login.host_key


def test_shapes_have_slots_of_their_own(slots):
    """Firmware is part of a shape."""
    slots.release(slots.fresh(Shape(), soon()))
    assert slots.fresh(Shape(firmware=Firmware.UEFI), soon()).machine.verbs == ["start", "checkpoint"]


def test_images_have_slots_of_their_own(run, host, slots):
    """A defect planted in one image is not found in another's guests."""
    slots.release(slots.fresh(Shape(), soon()))
    slots.close()
    other = Image("other", "e" * 64, IMAGE.files, Size(GiB))
    assert make(run, host, other).fresh(Shape(), soon()).machine.verbs == ["start", "checkpoint"]


def test_a_cache_that_is_removed_under_a_run_costs_a_boot_and_no_test(slots, host, tmp_path):
    """The slot's key went with it."""
    first = slots.fresh(Shape(), soon())
    slots.release(first)
    shutil.rmtree(tmp_path / "cache")
    guest = slots.fresh(Shape(), soon())
    assert guest.machine.verbs == ["start", "checkpoint"]
    assert guest is not first
    assert first.machine.verbs[-1] == "destroy"


def test_a_clock_nobody_touched_is_booted(slots):
    """Not even a guest from before the first revert will do: it has been stopped in a checkpoint."""
    slots.release(slots.fresh(Shape(), soon()))
    guest = slots.cold(Shape(), soon())
    assert guest.machine.verbs == ["start"]
    assert "clock set" not in guest.said


def test_where_memory_cannot_be_checkpointed_every_guest_is_booted(slots, host):
    """The same words, only slower."""
    host.able = set()
    guest = slots.fresh(Shape(), soon())
    assert guest.machine.verbs == ["start"]
    slots.release(guest)
    assert host.alive == []


def test_a_cold_guest_is_gone_when_it_is_given_back(slots, host):
    """With its keys and addresses."""
    guest = slots.cold(Shape(), soon())
    folder = guest.identity.login.private_key.parent
    assert folder.is_dir()
    slots.release(guest)
    assert (host.alive, folder.exists()) == ([], False)
    assert run_rows(slots.run) == 0


def run_rows(run) -> int:
    return run.store.rows("SELECT COUNT(*) FROM leases")[0][0]


def test_a_cold_guest_may_be_asked_for_without_booting(slots):
    """Its machine is off, its capacity is there."""
    guest = slots.cold(Shape(), soon(), boot=False, files={"/x": b"y"}, commands=[["true"]])
    assert guest.machine.verbs == []
    assert booked(slots.run) == (1, 2)


def test_capacity_is_leased_while_a_guest_may_run_and_no_longer(slots, host):
    """Room for hot added CPUs included; an idle slot is off and costs nothing."""
    guest = slots.fresh(Shape(vcpus=2, max_vcpus=4), soon())
    assert booked(slots.run) == (1, 4)
    slots.release(guest)
    assert booked(slots.run) == (0, 0)
    assert host.running == []


def test_a_guest_that_never_gets_ready_leaves_nothing(slots, host):
    """No machine, no lease, no key."""
    InstantGuest.sick.add("machine-1")
    with pytest.raises(LabError, match="sick"):
        slots.fresh(Shape(), soon())
    assert (host.alive, run_rows(slots.run)) == ([], 0)
    assert list(slots._shelf.folder.glob("*")) == []


def test_a_machine_that_cannot_be_made_leaves_nothing(slots, host):
    """The same before there is a machine."""
    host.broken.add("create")
    with pytest.raises(LabError, match="create failed"):
        slots.cold(Shape(), soon())
    assert run_rows(slots.run) == 0
    assert list(slots._shelf.folder.glob("*")) == []


def test_a_slot_that_does_not_come_back_is_replaced(slots, host):
    """Once: a cold boot tells whether it was the checkpoint or the host."""
    guest = slots.fresh(Shape(), soon())
    slots.release(guest)
    guest.machine.broken.add("revert")
    other = slots.fresh(Shape(), soon())
    assert other.machine is not guest.machine
    assert guest.machine.gone


def test_a_slot_is_not_given_up_for_want_of_room(slots, host, run):
    """Capacity is nobody's fault but the lab's."""
    guest = slots.fresh(Shape(), soon())
    slots.release(guest)
    limits = run.lab.hosts["kvm"].limits
    other = run.leases.capacity(run.lab.hosts["kvm"], soon(), vcpus=limits[0], memory=Size(1))
    with pytest.raises(LabError, match="waited"):
        slots.fresh(Shape(), Deadline.after(0.2))
    other.release()
    assert slots.fresh(Shape(), soon()) is guest


def test_a_lost_lease_destroys_nothing(slots, host):
    """Who may not act any more leaves everything to whoever may."""
    guest = slots.fresh(Shape(), soon())
    slots.release(guest)
    guest.machine.lease_lost = True
    with pytest.raises(LeaseLost):
        slots.fresh(Shape(), soon())
    assert not guest.machine.gone


def test_checkpoints_of_a_borrower_go_before_the_next_one(slots):
    """Only the slot's own is there again."""
    guest = slots.fresh(Shape(), soon())
    guest.machine.checkpoint("mine", soon(), memory=True)
    slots.release(guest)
    assert slots.fresh(Shape(), soon()).machine.names == ["warm"]


def test_warm_slots_survive_their_run_where_the_host_is_embedded(host):
    """The next process reverts what the last one booted, as itself."""
    with Run.begin(load_lab("local")) as first:
        slots = make(first, host)
        before = slots.fresh(Shape(), soon())
        slots.close()
    assert [machine.state for machine in host.alive] == [PowerState.OFF]
    with Run.begin(load_lab("local")) as second:
        after = make(second, MemoryHost(host.machines)).fresh(Shape(), soon())
        assert after.machine is before.machine
        assert after.identity == before.identity
        assert after.machine.verbs == ["start", "checkpoint", "stop", "revert"]


def test_what_a_killed_run_left_running_is_stopped_first(host):
    """Nobody looks after it, and its addresses are in use."""
    with Run.begin(load_lab("local")) as first:
        make(first, host).fresh(Shape(), soon())  # and never closed
    assert len(host.running) == 1
    with Run.begin(load_lab("local")) as second:
        make(second, MemoryHost(host.machines)).fresh(Shape(firmware=Firmware.UEFI), soon())
        assert [machine.spec.shape.firmware for machine in host.running] == [Firmware.UEFI]


def test_a_slot_made_with_another_hypervisor_version_is_dropped(host):
    """Its memory may not load, or worse, load half."""
    with Run.begin(load_lab("local")) as first:
        slots = make(first, host)
        slots.fresh(Shape(), soon())
        slots.close()
    with Run.begin(load_lab("local")) as second:
        newer = MemoryHost(host.machines, version="2")
        assert make(second, newer).fresh(Shape(), soon()).machine.verbs == ["start", "checkpoint"]
        assert len(newer.alive) == 1


def test_what_a_host_says_of_its_room_and_its_cluster_does_not_spoil_a_slot():
    """It changes from run to run, and no saved memory depends on it."""
    one, other = (
        HostFacts("fake", "1", "1", "none", 2, GiB, 8, details={"ESXi": "esx1", **more})
        for more in ({"datastore": "ssd-2, 5.0 GiB of 9.0 GiB free"}, {"datastore": "ssd-2", "cluster rules": "none"})
    )
    assert made_with(one) == made_with(other) != made_with(replace(one, details={"ESXi": "esx2"}))


def test_a_slot_in_another_process_hands_is_left_alone(host):
    """Its root cannot be opened here; it stays on the shelf for its next owner."""
    with Run.begin(load_lab("local")) as first:
        slots = make(first, host)
        slots.fresh(Shape(), soon())
        slots.close()
        elsewhere = make(first, MemoryHost())
        elsewhere.fresh(Shape(), soon())
        assert len(list(elsewhere._shelf.records())) == 2


def test_on_other_hosts_slots_belong_to_the_run(run, host, monkeypatch):
    """Nothing stays on a host that others use."""
    monkeypatch.setattr("harness.lab.models.Host.embedded", False)
    slots = make(run, host)
    slots.release(slots.fresh(Shape(), soon()))
    slots.close()
    assert host.alive == []
    assert warm(run.store, run.lab.path, "kvm") == set()


def test_too_many_warm_slots_are_dropped_the_longest_unused_first(slots, host, monkeypatch):
    """A cache has bounds; what is lent stays."""
    monkeypatch.setattr("harness.lab.slots.MOST_SLOTS", 2)
    shapes = [Shape(vcpus=count) for count in (1, 2, 3)]
    machines = []
    for shape in shapes:
        guest = slots.fresh(shape, soon())
        machines.append(guest.machine)
        slots.release(guest)
    assert [machine.gone for machine in machines] == [True, False, False]


def test_surplus_counts_slots_and_memory():
    """The most recently used stay while they fit."""
    records = [Record(str(at), "m", "i", None, "w", "h", memory=GiB, used=float(at)) for at in range(5)]
    assert {record.name for record in surplus(records, most=10, memory=Size(3 * GiB))} == {"0", "1"}
    assert {record.name for record in surplus(records, most=1, memory=Size(9 * GiB))} == {"0", "1", "2", "3"}


def test_what_killed_processes_left_on_the_shelf_is_swept(tmp_path):
    """Keys of guests that are no more, once no living run can need them."""
    shelf = Shelf(tmp_path, now=lambda: time.time() + 7200)
    for name in ("slot", "kept", "killed", "reaped"):
        (tmp_path / name).mkdir()
    for name in ("slot", "reaped"):
        shelf.put(Record(name, f"machine of {name}", "i", None, "w", "h", 1, 0.0))
    shelf.sweep({"machine of slot"}, {"kept"}, timedelta(hours=3))
    assert len(list(tmp_path.iterdir())) == 4
    shelf.sweep({"machine of slot"}, {"kept"}, timedelta(hours=1))
    assert {path.name for path in tmp_path.iterdir()} == {"slot", "kept"}


def test_a_record_that_cannot_be_read_is_no_slot(tmp_path):
    """Half written, or of another version."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "slot.json").write_text('{"name": "a"')
    assert list(Shelf(tmp_path).records()) == []


def test_a_kept_guest_outlives_the_run_and_is_no_slot_any_more(run, host):
    """Running, with its leases, its keys and a pinned host key; no later run reverts it."""
    slots = make(run, host)
    guest = slots.fresh(Shape(), soon())
    kept = slots.keep(guest, timedelta(hours=1), "test_x failed")
    slots.close()
    assert guest.machine.state is PowerState.RUNNING
    assert booked(run) == (1, 2)
    assert [each.id for each in Kept(open_store()).all()] == [guest.name]
    assert kept.identity.is_file()
    assert guest.identity.login.host_key in kept.known_hosts.read_text()
    assert kept.endpoint == guest.identity.nics[0].forward
    assert make(run, host).fresh(Shape(), soon()).machine is not guest.machine


def test_a_guest_is_given_back_once(slots):
    """The second time is a mistake."""
    guest = slots.cold(Shape(), soon())
    slots.release(guest)
    with pytest.raises(LabError, match="given back already"):
        slots.release(guest)


def test_closing_tries_everything_and_tells_the_first_problem(slots, host):
    """One machine that hangs does not keep the others."""
    one, two = slots.cold(Shape(), soon()), slots.cold(Shape(), soon())
    one.machine.broken.add("destroy")
    with pytest.raises(LabError, match="destroy failed"):
        slots.close()
    assert two.machine.gone


def test_an_image_with_a_key_of_its_own_gets_no_seed(run, host, tmp_path):
    """The lab knows its account and key; the host key is learnt."""
    key = tmp_path / "lab_key"
    image = Image(
        "own",
        "f" * 64,
        IMAGE.files,
        Size(GiB),
        access=Access.READY,
        network=SeedNetwork.DHCP,
        user="tester",
        private_key=key,
    )
    guest = make(run, host, image).cold(Shape(), soon())
    assert guest.machine.spec.seed is None
    assert guest.identity.login.private_key == key
    assert (guest.identity.login.user, guest.identity.login.host_key) == ("tester", None)
    assert guest.identity.nics[0].address is None
