"""What of ours is on a vSphere host: found by its mark wherever it is, and removed for its owner alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.protocol import Refused
from harness.backends.views import Owned, ResourceKind
from harness.backends.vsphere import collector, marks, publish, tasks
from harness.backends.vsphere.errors import Gone
from harness.backends.vsphere.refs import Ref
from harness.core import LabError
from tests.unit import vsphere_hypervisor
from tests.unit.vsphere_host import within
from tests.unit.vsphere_hypervisor import OWNER, opened, order

place, host, disk = vsphere_hypervisor.place, vsphere_hypervisor.host, vsphere_hypervisor.disk


@pytest.fixture
def machine(host, disk):
    """One of ours, on a base that all tests share."""
    published = host.publish(replace(disk, digest="e" * 64), within())
    made = host.create(order(published), within())
    yield made
    made.destroy(within())


def handles(host, run=None):
    return {thing.handle for thing in host.owned(within(), run)}


def test_a_machine_is_ours_wherever_it_was_moved_and_whatever_it_is_called(host, machine):
    """Somebody renames it and moves it out of our folder: id and mark stay."""
    ref = Ref("VirtualMachine", machine.id)
    center = collector.children(host.session, host.session.root, "Datacenter", ["vmFolder"], within())
    above = next(iter(center.values()))["vmFolder"]
    tasks.run(host.session, "rename", ref, "Rename_Task", within(), "somebody's")
    tasks.run(host.session, "move", above, "MoveIntoFolder_Task", within(), [ref])
    assert machine.id in handles(host, "run1")
    assert host.open(machine.id, within()).spec == machine.spec
    assert machine.view(within()).vcpus == 2
    machine.destroy(within())
    assert machine.id not in handles(host)


def test_a_machine_that_somebody_deleted_is_said_to_be_gone(host, machine):
    tasks.run(host.session, "delete", Ref("VirtualMachine", machine.id), "Destroy_Task", within())
    with pytest.raises(Gone, match="not on the host any more"):
        machine.view(within())
    with pytest.raises(LabError):
        host.open(machine.id, within())
    host.remove(Owned(ResourceKind.MACHINE, machine.id, OWNER), within())
    machine.destroy(within())


def test_machines_of_others_are_not_ours(host):
    """Not even with an annotation that looks a little like it."""
    found = collector.children(host.session, host.session.root, "VirtualMachine", ["name", "runtime.host"], within())
    foreign = next(ref for ref, values in found.items() if values["name"] == "DC0_H0_VM0")
    assert foreign.id not in handles(host)
    with pytest.raises(Refused, match="is not ours"):
        host.remove(Owned(ResourceKind.MACHINE, foreign.id, OWNER), within())
    with pytest.raises(LabError, match="is not ours"):
        host.open(foreign.id, within())
    for text in ("", "hello", "{}", '{"interop": 1}', '{"interop": {"owner": 5}}', "[1]"):
        assert marks.owner_of(text) is None
        assert publish.image_of({"config.annotation": text}) is None


def test_another_runs_machine_is_not_removed_for_ours(host, machine):
    stranger = Owned(ResourceKind.MACHINE, machine.id, replace(OWNER, token="another"))
    with pytest.raises(Refused, match="carries the mark of run run1"):
        host.remove(stranger, within())
    assert machine.id in handles(host)


def test_a_machine_belongs_to_its_own_esxi_alone(place, host, machine):
    """Hosts of one vCenter do not reap each other's guests."""
    other = opened(place, cluster="DC0_C0", esxi="DC0_C0_H0")
    assert machine.id in handles(host)
    assert machine.id not in handles(other)
    other.close()


@pytest.mark.parametrize("word", ["1a2b3c4d", "15584865", "deadbeef"])
def test_a_folders_name_is_read_in_one_way_whatever_its_last_word_is(monkeypatch, word):
    """One of digits alone looks like an expiry."""
    monkeypatch.setattr(marks.secrets, "token_hex", lambda _: word)
    owner = replace(OWNER, expiry=OWNER.expiry.replace(microsecond=0))
    assert marks.folder_mark(marks.folder_name("a~b", owner)) == ("a~b", owner)


@pytest.mark.parametrize("name", ["x", "x~run~token~1795866234", "x~run~token~99999999999999999~deadbeef"])
def test_a_folder_of_somebody_else_has_no_owner(name):
    assert marks.folder_mark(name) is None


def test_files_without_a_machine_are_found_with_their_owner_and_removed(host, machine, tmp_path):
    (tmp_path / "seed.iso").write_bytes(b"x" * 1000)
    folder = f"interop/{marks.folder_name('lost', OWNER)}"
    host._files.put(tmp_path / "seed.iso", f"{folder}/seed.iso", within())
    host._files.put(tmp_path / "seed.iso", "interop/somebodys/x.iso", within())
    (thing,) = [thing for thing in host.owned(within()) if thing.kind is ResourceKind.FOLDER]
    assert (thing.handle, thing.owner.run) == (folder, "run1")
    with pytest.raises(Refused):
        host.remove(replace(thing, handle="interop/somebodys"), within())
    with pytest.raises(Refused):
        host.remove(replace(thing, owner=replace(OWNER, token="another")), within())
    host.remove(thing, within())
    host.remove(thing, within())
    assert thing.handle not in handles(host)
    assert host._files.listed("interop/somebodys", within()) == ("x.iso",)


def test_the_list_of_what_is_ours_takes_few_round_trips(host, machine):
    """However many machines there are."""
    list(host.owned(within()))
    before = host.session.trips
    list(host.owned(within()))
    assert (host.session.trips - before).total() <= 10


def test_an_empty_folder_of_a_run_is_known_by_its_token_and_by_nothing_less(host):
    """One that looks like it, as people's may, is neither listed nor removed; nor is another run's for this one."""
    names = ("run1-1f", "prod-01", marks.run_folder(OWNER, 31), marks.run_folder(replace(OWNER, token="other"), 31))
    made = {name: host.session.call("make", host._host.place.folder, "CreateFolder", within(), name) for name in names}
    found = {thing.name: thing for thing in host.owned(within()) if thing.kind is ResourceKind.FOLDER}
    assert found.keys() & made.keys() == set(names[2:])
    assert (found[names[2]].owner.run, found[names[2]].owner.token) == (OWNER.run, OWNER.token)
    for name in names[:2]:
        with pytest.raises(Refused, match="is not ours"):
            host.remove(Owned(ResourceKind.FOLDER, made[name].id, OWNER), within())
    with pytest.raises(Refused, match="carries the mark"):
        host.remove(Owned(ResourceKind.FOLDER, made[names[3]].id, OWNER), within())
    for name in names[2:]:
        host.remove(found[name], within())
    left = {thing.name for thing in host.owned(within()) if thing.kind is ResourceKind.FOLDER}
    assert left & made.keys() == set()
    for name in names[:2]:
        tasks.run(host.session, "remove", made[name], "Destroy_Task", within())


def test_a_folder_of_somebody_s_stays_when_our_machine_leaves_it(host, machine):
    """A person had moved it there."""
    folder = host.session.call("make", host._host.place.folder, "CreateFolder", within(), "prod-02")
    tasks.run(host.session, "move", folder, "MoveIntoFolder_Task", within(), [Ref("VirtualMachine", machine.id)])
    machine.destroy(within())
    assert collector.read_one(host.session, folder, "name", deadline=within())["name"] == "prod-02"
    tasks.run(host.session, "remove", folder, "Destroy_Task", within())


def test_a_complete_image_stays_when_its_publisher_was_killed_before_it_said_so(host, disk, machine):
    """It belongs to no run, and machines may stand on it: removing for a run's sake is a no-op."""
    base = machine.spec.image.handle
    host.remove(Owned(ResourceKind.IMAGE, base, OWNER), within())
    assert host.publish(replace(disk, digest="e" * 64), within()).handle == base
