"""Images as base machines, and what of ours is found and removed, against vcsim behind TLS."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.check import Examined
from harness.backends.model import (
    MachineSpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    Owned,
    Ownership,
    ResourceKind,
    Shape,
)
from harness.backends.protocol import HostClock, Hypervisor, Refused
from harness.backends.registry import Context
from harness.backends.vsphere import collector, connect, inventory, marks, nfc, placement, publish, tasks
from harness.backends.vsphere.errors import Cancelled, Gone
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.cli import interop
from harness.core import GiB, LabError, MiB, Pending, Size, wait_for
from tests.unit import vsphere_host
from tests.unit.fake_ledger import NoLedger
from tests.unit.vsphere_host import certificate, fault, settings, within

OWNER = Ownership("run1", "token1", datetime.now(UTC) + timedelta(hours=1))
NETWORK = NetworkSpec("management", NetworkKind.NETWORK, "VM Network")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A vcsim with two datastores, a front, and a folder."""
    folder = tmp_path_factory.mktemp("vsphere")
    with (
        vsphere_host.vcsim("-vm", "1", "-ds", "2") as upstream,
        vsphere_host.front(upstream, certificate(folder / "tls", "127.0.0.1")) as front,
    ):
        yield front, folder


@pytest.fixture(scope="module")
def front(place):
    return place[0]


def opened(place, owner=OWNER, **changes):
    """A connection of its own."""
    return connect(settings(*place, **changes), Context("vc", owner, NoLedger(), place[1]))


@pytest.fixture(scope="module")
def host(place):
    """An ESXi, opened as a run opens it."""
    made = opened(place)
    yield made
    made.close()


@pytest.fixture(scope="module")
def disk(place):
    """A small one, in both formats."""
    return vsphere_host.small_disk(place[1])


@pytest.fixture
def image(disk, request):
    """With a digest of the test's own."""
    return replace(disk, digest=hashlib.sha256(request.node.name.encode()).hexdigest())


def bases(host):
    """The base machines that are there, by name."""
    found = collector.children(
        host.session, host.session.root, "VirtualMachine", ["name", "config.annotation"], within()
    )
    return {values["name"]: ref for ref, values in found.items() if values["name"].startswith("interop-base-")}


def base_name(host, image):
    """What its base is called where this ESXi's guests lie."""
    return publish.base_name(image.digest, host._found.place.datastore.id)


def stores(host, handle):
    """Where a machine's files lie, by name."""
    refs = collector.read_one(host.session, Ref("VirtualMachine", handle), "datastore", deadline=within())["datastore"]
    return sorted(values["name"] for values in collector.read(host.session, refs, ["name"], within()).values())


def drop(host, published):
    host.remove(Owned(ResourceKind.IMAGE, published.handle, None), within())


# Publishing.


def test_a_host_does_all_that_its_kind_must(host):
    assert isinstance(host, Hypervisor)
    assert isinstance(host, HostClock)
    assert isinstance(host, Examined)


def test_facts_are_the_hosts_own(host):
    facts = host.facts(within())
    assert (facts.product, facts.accelerated, facts.twin) == ("VMware ESXi", "vmware", False)
    assert facts.build.isdigit()  # what `when: build:` of expectations compares
    assert facts.details["product"] == f"VMware ESXi {facts.version} build {facts.build}"
    assert "vCenter" in facts.details["managed by"]


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


# Uploads that fail: nothing half-made stays, and it is said why.


def nothing_left(host):
    assert bases(host) == {}
    assert [thing for thing in host.owned(within()) if thing.kind is ResourceKind.IMAGE] == []


def test_a_full_datastore_is_told_and_leaves_nothing(host, front, image):
    front.refusing["/nfc"] = 1
    front.status["/nfc"] = 507
    with pytest.raises(LabError, match="507") as caught:
        host.publish(image, within())
    assert "free space on the datastore" in caught.value.hint
    assert front.calls["HttpNfcLeaseAbort"] == 1
    nothing_left(host)


def test_a_full_datastore_that_the_lease_tells_of_is_the_same(host, front, image):
    front.faults["ImportVApp"] = fault("NoDiskSpace", "Insufficient disk space.", "<file/><datastore>ds</datastore>")
    with pytest.raises(LabError, match="NoDiskSpace") as caught:
        host.publish(image, within())
    assert "free space on the datastore" in caught.value.hint
    nothing_left(host)


def test_a_connection_that_breaks_while_uploading_leaves_nothing(host, front, image):
    front.cutting["/nfc"] = 1
    with pytest.raises(LabError, match="broke"):
        host.publish(image, within())
    nothing_left(host)


def test_a_lease_that_ends_while_uploading_is_told(host, front, image, monkeypatch):
    """Somebody cancels the import in the vSphere client: the upload is broken off, not fed for ever."""
    monkeypatch.setattr(nfc, "_PROGRESS_SECONDS", 0.1)
    front.gate.clear()
    errors = []

    def work():
        try:
            host.publish(image, within())
        except LabError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    body = wait_for("progress", lambda: front.bodies.get("HttpNfcLeaseProgress") or Pending("none"), within())
    lease = body.partition(b'type="HttpNfcLease">')[2].partition(b"<")[0].decode()
    host.session.call("abort", Ref("HttpNfcLease", lease), "HttpNfcLeaseAbort", within(), None)
    thread.join(30)
    front.gate.set()
    assert not thread.is_alive()
    assert isinstance(errors[0], Cancelled), errors
    assert "% sent" in errors[0].message
    nothing_left(host)


def test_an_upload_that_overruns_its_deadline_leaves_nothing(host, front, image):
    front.gate.clear()
    with pytest.raises(LabError):
        host.publish(image, within(1))
    front.gate.set()
    nothing_left(host)


def test_what_arrives_changed_is_not_taken(host, image, monkeypatch):
    monkeypatch.setattr("harness.backends.vsphere.transfer.Stream.sha1", "0" * 40)
    with pytest.raises(LabError, match="another disk than was sent"):
        host.publish(image, within())
    nothing_left(host)


def test_an_upload_that_nobody_finished_is_found_with_its_owner(host, image, monkeypatch):
    """As after a kill: the base has no final name, and says whose it was to be."""
    monkeypatch.setattr(publish, "SNAPSHOT", None)
    with pytest.raises(Exception):  # noqa: B017 - whatever comes of it
        host.publish(image, within())
    (thing,) = [thing for thing in host.owned(within()) if thing.kind is ResourceKind.IMAGE]
    assert (thing.owner.run, thing.owner.token) == ("run1", "token1")
    host.remove(thing, within())
    host.remove(thing, within())
    nothing_left(host)


# What is ours.


def order(published, name="machine1", owner=OWNER):
    nic = NicSpec("00:50:56:00:00:01", NETWORK)
    return MachineSpec(name, published, Shape(memory=Size(256 * MiB)), (nic,), None, owner)


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


# Files.


def test_a_file_is_read_in_pieces(host, tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "log").write_bytes(content)
    host._files.put(tmp_path / "log", "interop/a b/serial.log", within())
    read = host._files.read
    assert read("interop/a b/serial.log", 100, 1000, within()) == content[100:1100]
    assert read("interop/a b/serial.log", len(content) - 5, 1000, within()) == content[-5:]
    assert read("interop/a b/serial.log", len(content), 1000, within()) == b""
    assert read("interop/absent", 0, 1000, within()) == b""
    host._files.delete_empty("interop/a b", within())
    assert host._files.listed("interop/a b", within()) == ("serial.log",)
    host._files.delete("interop/a b", within())
    host._files.delete("interop/a b", within())


def test_a_kept_connection_that_the_host_closed_is_no_error(host, front, tmp_path):
    (tmp_path / "log").write_bytes(b"hello")
    host._files.put(tmp_path / "log", "interop/x.log", within())
    assert host._files.read("interop/x.log", 0, 9, within()) == b"hello"
    front.cutting["GET"] = 1
    assert host._files.read("interop/x.log", 0, 9, within()) == b"hello"
    host._files.delete("interop/x.log", within())


def test_a_file_that_may_not_be_written_says_which_right_is_missing(host, front, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    front.refusing["PUT"] = 2
    front.status["PUT"] = 403
    with pytest.raises(LabError, match="403") as caught:
        host._files.put(tmp_path / "x", "interop/x", within())
    assert "Datastore.FileManagement" in caught.value.hint
    del front.status["PUT"]


# Fitness.


def remarks(host, *networks):
    return {remark.subject: remark for remark in host.examine(networks, within())}


def test_a_fit_host_has_nothing_to_complain_of(host):
    found = remarks(host, NETWORK)
    assert all(remark.fine for remark in found.values()), found
    assert "logged in" in found["account"].text


@pytest.fixture
def deny(monkeypatch):
    """From now on, accounts lack these privileges."""
    real = Session.call

    def denied(*names):
        def call(session, operation, ref, method, deadline, *arguments):
            answer = real(session, operation, ref, method, deadline, *arguments)
            for entity in answer if method == "HasPrivilegeOnEntities" else ():
                for one in entity.privAvailability:
                    one.isGranted = one.privId not in names
            return answer

        monkeypatch.setattr(Session, "call", call)

    return denied


def test_each_missing_privilege_is_named(host, deny):
    deny("VirtualMachine.Interact.Reset", "Host.Config.DateTime")
    found = remarks(host)
    assert found["rights on the folder"].text == "missing: VirtualMachine.Interact.Reset"
    assert found["rights on the folder"].fine is False
    assert found["rights on the ESXi"].fine is None
    assert found["rights on the datastore LocalDS_0"].fine


def in_cluster(place):
    """A connection to a member of the cluster, which has DRS on."""
    return contextlib.closing(opened(place, cluster="DC0_C0", esxi="DC0_C0_H0"))


def test_a_cluster_that_may_be_changed_is_told_of_and_is_no_news_of_a_run(place):
    with in_cluster(place) as member:
        found = remarks(member)
        assert found["rights on the cluster"].fine is True
        assert (found["cluster"].text, found["cluster"].fine) == ("DRS is on", None)
        assert placement.NOTE not in member.facts(within()).details


def test_the_rule_that_a_cluster_wants_is_told_by_the_check_and_by_every_run(place, deny):
    """In the words of the page, by the missing right's name; such a host is fit all the same."""
    deny("Host.Inventory.EditCluster")
    with in_cluster(place) as member:
        rights = remarks(member)["rights on the cluster"]
        assert (rights.text, rights.fine) == ("missing: Host.Inventory.EditCluster", None)
        assert rights.hint == f"without it {placement.RULE}"
        told = member.facts(within()).details[placement.NOTE]
        assert told.startswith("DRS may move or reset guests")
        assert told.endswith(f"without Host.Inventory.EditCluster {placement.RULE}")


def test_a_cluster_whose_owner_has_set_the_rule_is_fit(place, host, deny):
    deny("Host.Inventory.EditCluster")
    with in_cluster(place) as member:
        cluster, off = member._found.place.cluster, vim.cluster.DrsConfigInfo(defaultVmBehavior="partiallyAutomated")
        spec, undo = (
            vim.cluster.ConfigSpecEx(drsConfig=one)
            for one in (off, vim.cluster.DrsConfigInfo(defaultVmBehavior="fullyAutomated"))
        )
        tasks.run(host.session, "rule", cluster, "ReconfigureComputeResource_Task", within(), spec, True)
        found = remarks(member)
        assert found["cluster"].fine is True
        assert "rights on the cluster" not in found
        with in_cluster(place) as again:
            assert placement.NOTE not in again.facts(within()).details
        tasks.run(host.session, "rule", cluster, "ReconfigureComputeResource_Task", within(), undo, True)


def test_what_came_up_while_machines_were_made_is_among_the_facts(place, front, image):
    """As on a cluster that can be seen to allow it, and then does not."""
    with in_cluster(place) as member:
        front.refusing["ReconfigureComputeResource_Task"] = 1
        base = member.publish(image, within())
        member.create(order(base), within()).destroy(within())
        assert "may move or reset guests" in member.facts(within()).details[placement.NOTE]
        drop(member, base)


def test_a_network_that_is_not_there_gets_the_nearest(host):
    wrong = NetworkSpec("peers", NetworkKind.NETWORK, "VM Netwrok")
    bridge = NetworkSpec("br", NetworkKind.BRIDGE, "br0")
    found = remarks(host, wrong, bridge)
    assert found["network peers"].fine is False
    assert "did you mean 'VM Network'?" in found["network peers"].text
    assert found["network br"].fine is False


def test_too_little_room_is_told(host, monkeypatch):
    monkeypatch.setattr(host, "_found", replace(host._found, free=Size(GiB)))
    assert remarks(host)["space"].fine is False


def test_an_esxi_without_a_vcenter_is_opened_as_well(tmp_path):
    """It knows no folders of machines, so ours lie beside the others'."""
    with (
        vsphere_host.vcsim("-esx") as upstream,
        vsphere_host.front(upstream, certificate(tmp_path / "tls", "127.0.0.1")) as front,
    ):
        alone = opened((front, tmp_path), datacenter=None, esxi=None, datastore=None)
        assert all(remark.fine for remark in remarks(alone).values())
        assert list(alone.owned(within())) == []
        assert front.calls["CreateFolder"] == 0
        alone.close()


def test_a_host_without_a_clock_of_its_own_says_so(host):
    """As vcsim is: the twin's front supplies one."""
    with pytest.raises(LabError, match="clock"):
        host.clock(within())


def checked(place, tmp_path, source, password=vsphere_host.PASSWORD):
    """What `interop lab check --connect` says of a lab with this host."""
    front, _ = place
    (tmp_path / "password").write_text(password)
    host = {"backend": "vsphere", "endpoint": front.endpoint, "user": vsphere_host.USER}
    host |= {"password": f"file:{tmp_path / 'password'}", "ca": str(front.certificate.ca), "esxi": "DC0_H0"}
    networks = {"management": {"kind": "network", "source": source, "subnet": "192.0.2.0/24"}}
    lab = tmp_path / "lab.yaml"
    lab.write_text(json.dumps({"hosts": {"vc": host}, "networks": networks}))
    return CliRunner().invoke(interop, ["lab", "check", "--connect", str(lab)])


def test_lab_check_tells_of_a_fit_host_and_of_one_that_lacks_something(place, tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    fit = checked(place, tmp_path, "VM Network")
    assert fit.exit_code == 0, fit.output
    assert "rights on the folder" in fit.output
    unfit = checked(place, tmp_path, "VM Netwrok")
    assert unfit.exit_code == 1
    assert "did you mean 'VM Network'?" in unfit.output


def test_lab_check_says_that_the_account_is_refused_without_its_password(place, tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    refused = checked(place, tmp_path, "VM Network", password="hunter2")
    assert refused.exit_code == 1
    said = " ".join(refused.output.split())
    assert f"vc: log in: the account {vsphere_host.USER} is refused at {place[0].endpoint}" in said
    assert "check `user`" in said
    assert "hunter2" not in said
    assert "Traceback" not in said
