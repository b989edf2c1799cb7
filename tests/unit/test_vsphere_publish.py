"""Images as base machines: one of each content on each datastore, whoever publishes it."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.protocol import Refused
from harness.backends.registry import Context
from harness.backends.views import ResourceKind
from harness.backends.vsphere import collector, connect, inventory, publish, tasks
from harness.backends.vsphere.refs import Ref
from harness.core import LabError
from tests.unit import vsphere_hypervisor
from tests.unit.fake_ledger import NoLedger
from tests.unit.vsphere_host import settings, within
from tests.unit.vsphere_hypervisor import OWNER, bases, drop, opened, order

place, front, host = vsphere_hypervisor.place, vsphere_hypervisor.front, vsphere_hypervisor.host
disk, image = vsphere_hypervisor.disk, vsphere_hypervisor.image


def base_name(host, image):
    """What its base is called where this ESXi's guests lie."""
    return publish.base_name(image.digest, host._found.place.datastore.id)


def stores(host, handle):
    """Where a machine's files lie, by name."""
    refs = collector.read_one(host.session, Ref("VirtualMachine", handle), "datastore", deadline=within())["datastore"]
    return sorted(values["name"] for values in collector.read(host.session, refs, ["name"], within()).values())


def test_an_image_is_imported_once_by_content(host, front, image):
    """Its bytes pass once; a second look takes two round trips."""
    before = front.calls["ImportVApp"]
    published = host.publish(image, within())
    trips = host.session.trips
    assert host.publish(image, within()) == published
    assert dict(host.session.trips - trips) == {"FindChild": 1, "RetrievePropertiesEx": 1}
    assert front.calls["ImportVApp"] == before + 1
    values = collector.read_one(
        host.session, Ref("VirtualMachine", published.handle), "name", *publish._PATHS, deadline=within()
    )
    assert values["name"] == base_name(host, image)
    assert json.loads(values["config.annotation"])["interop"]["image"] == image.digest
    assert publish.snapshot_of(values) is not None
    assert published.handle not in {thing.handle for thing in host.owned(within())}
    drop(host, published)
    assert bases(host) == {}


def test_two_publishers_at_once_end_with_one_base(place, host, image, tmp_path):
    """As two controllers: neither waits for a lock of the other's."""
    folders = [tmp_path / "one", tmp_path / "two"]
    results, gate = [], threading.Barrier(2)

    def work(folder):
        folder.mkdir()
        with_own = connect(settings(*place), Context("vc", OWNER, NoLedger(), folder))
        gate.wait(30)
        results.append(with_own.publish(image, within()))
        with_own.close()

    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert results[0] == results[1]
    assert list(bases(host)) == [base_name(host, image)]
    drop(host, results[0])


def test_a_second_publisher_takes_the_first_ones_base_and_its_own_away(host, image, monkeypatch):
    """The one that comes to the last step later finds the name taken."""
    first = host.publish(image, within())
    answers = iter([None, None])
    whole = publish.Publisher._published

    def late(self, digest, deadline):
        return next(answers, whole(self, digest, deadline))

    monkeypatch.setattr(publish.Publisher, "_published", late)
    assert host.publish(image, within()) == first
    assert list(bases(host)) == [base_name(host, image)]
    drop(host, first)


def test_two_processes_of_one_controller_send_the_bytes_once(place, host, front, image):
    before = front.calls["ImportVApp"]
    results = []

    def work():
        mine = opened(place)
        results.append(mine.publish(image, within()))
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert front.calls["ImportVApp"] == before + 1
    drop(host, results[0])


def test_a_base_that_somebody_changed_is_not_used(host, image):
    published = host.publish(image, within())
    ref = Ref("VirtualMachine", published.handle)
    tasks.run(host.session, "spoil", ref, "RemoveAllSnapshots_Task", within(), None)
    with pytest.raises(LabError, match="is not what its name says") as caught:
        host.publish(image, within())
    assert "remove it in the vSphere client" in caught.value.hint
    drop(host, published)


def test_each_datastore_has_a_base_of_its_own(place, host, image):
    """Two ESXi share the folder of machines; each clones from where its own guests lie."""
    with contextlib.closing(opened(place, cluster="DC0_C0", esxi="DC0_C0_H1", datastore="LocalDS_1")) as other:
        here, there = host.publish(image, within()), other.publish(image, within())
        assert here.handle != there.handle
        assert (stores(host, here.handle), stores(host, there.handle)) == (["LocalDS_0"], ["LocalDS_1"])
        assert (host.publish(image, within()), other.publish(image, within())) == (here, there)
        machine = other.create(order(there), within())
        assert stores(host, machine.id) == ["LocalDS_1"]
        machine.destroy(within())
        for one in (host, other):
            assert [thing for thing in one.owned(within()) if thing.kind is ResourceKind.IMAGE] == []
        drop(host, here)
        drop(other, there)


def test_hosts_that_share_a_datastore_share_its_base(place, host, front, image):
    published = host.publish(image, within())
    before = front.calls["ImportVApp"]
    with contextlib.closing(opened(place, cluster="DC0_C0", esxi="DC0_C0_H1")) as other:
        assert other.publish(image, within()) == published
    assert front.calls["ImportVApp"] == before
    drop(host, published)


def test_a_base_that_was_moved_to_another_datastore_is_not_used(host, image):
    """What clones of it would stand on need not be in reach."""
    published = host.publish(image, within())
    ref = Ref("VirtualMachine", published.handle)
    away = {values["name"]: ref for ref, values in all_stores(host).items()}["LocalDS_1"]
    where = vim.vm.RelocateSpec(datastore=away.managed)
    tasks.run(host.session, "move", ref, "RelocateVM_Task", within(), where, "defaultPriority")
    with pytest.raises(LabError, match="it lies on another datastore") as caught:
        host.publish(image, within())
    assert "remove it in the vSphere client" in caught.value.hint
    drop(host, published)


def all_stores(host):
    return collector.children(host.session, host.session.root, "Datastore", ["name"], within())


@pytest.mark.parametrize("sizes", [(2, 1), (1, 2), (1, 1)], ids=["first", "second", "equal"])
def test_all_processes_of_a_run_come_to_the_same_datastore_however_full_they_are(place, host, monkeypatch, sizes):
    """One that the lab file leaves out is the largest: what is free changes from one look to the next."""
    real = collector.read
    free = iter([(9, 1), (1, 9)])

    def read(session, refs, paths, deadline, **more):
        found = real(session, refs, paths, deadline, **more)
        if "summary.capacity" in paths:
            known = sorted(found.values(), key=lambda values: values["name"])
            for values, size, left in zip(known, sizes, next(free), strict=True):
                values |= {"summary.capacity": size, "summary.freeSpace": left}
        return found

    monkeypatch.setattr(inventory.collector, "read", read)
    without = settings(*place, datastore=None)
    chosen = {inventory.resolve(host.session, without, within()).datastore for _ in range(2)}
    assert chosen == {"LocalDS_0" if sizes == (2, 1) else "LocalDS_1"}


def test_a_base_is_not_removed_under_a_machine(host, image, disk):
    published = host.publish(image, within())
    machine = host.create(order(published), within())
    with pytest.raises(Refused, match="machines stand on"):
        drop(host, published)
    machine.destroy(within())
    drop(host, published)
    drop(host, published)
