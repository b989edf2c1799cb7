"""Making a vSphere machine and taking it away: it is what was asked, and nothing stays of one that fails."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.model import Firmware, NetworkKind, NetworkSpec, PowerState, Shape, Topology, Trunk
from harness.backends.protocol import Refused
from harness.backends.views import ResourceKind
from harness.backends.vsphere import collector, marks, placement
from harness.backends.vsphere import create as making
from harness.backends.vsphere.create import create
from harness.backends.vsphere.errors import Gone, NameTaken
from harness.core import InteropError, LabError, MiB, Size
from tests.unit import vsphere_access
from tests.unit.vsphere_access import OWNER, view, within

host, machine = vsphere_access.host, vsphere_access.machine
OFF = PowerState.OFF


def test_a_new_machine_is_what_was_asked(host, machine):
    """Off, by the host's own configuration, and found again by its mark."""
    seen = view(machine)
    assert (seen.state, seen.vcpus, seen.max_vcpus, seen.memory) == (OFF, 2, 4, 512 * MiB)
    assert (seen.firmware, seen.topology) == (Firmware.BIOS, Topology(2, 1, 1))
    assert [(nic.mac, nic.network, nic.model, nic.connected) for nic in seen.nics] == [
        ("00:50:56:00:00:01", "management", "vmxnet3", True)
    ]
    assert [(disk.serial, disk.size, disk.model) for disk in seen.disks] == [("data0", 32 * MiB, "pvscsi")]
    annotation = host.raw(machine, "config.annotation")["config.annotation"]
    mark = marks.read(annotation)
    assert mark is not None
    assert (mark.owner, mark.spec) == (OWNER, machine.spec)
    assert marks.owner_of(annotation) == OWNER


def test_the_seed_is_in_the_drive_and_the_serial_port_writes_beside_it(host, machine):
    """Both lie in a folder whose name is their mark."""
    devices = host.raw(machine, "config.hardware.device")["config.hardware.device"]
    files = [one.backing.fileName for one in devices if type(one).__name__.endswith(("Cdrom", "SerialPort"))]
    folder = machine._files
    store = host.access.store
    assert files == [f"[{store.name}] {folder}/seed.iso", f"[{store.name}] {folder}/serial.log"]
    assert store.read(f"{folder}/seed.iso", 0, 100, within()) == machine.spec.seed.read_bytes()
    assert marks.folder_mark(folder.rpartition("/")[2]) == (machine.spec.name, OWNER)


@pytest.mark.parametrize("name", ["DC0_C0_H0", "DC0_C0_H1", "DC0_C0_H2"])
def test_a_new_machine_is_on_the_chosen_member_of_its_cluster(host, name):
    """Not on whichever the cluster, or the image's own place, would choose; and it is powered on there."""
    members = collector.children(host.session, host.session.root, "HostSystem", ["name"], within())
    wanted = next(ref for ref, values in members.items() if values["name"] == name)
    access = replace(host.access, place=replace(host.access.place, host=wanted))
    made = create(access, host.spec(), within())
    assert host.raw(made, "runtime.host")["runtime.host"] == wanted
    made.start(within())
    assert host.raw(made, "runtime.host")["runtime.host"] == wanted
    made.destroy(within())


def test_firmware_and_topology_are_as_asked(host):
    made = host.create(Shape(vcpus=4, memory=Size(256 * MiB), firmware=Firmware.UEFI, topology=Topology(2, 2)))
    assert (view(made).firmware, view(made).topology) == (Firmware.UEFI, Topology(2, 2))
    assert view(made).max_vcpus == 4
    made.destroy(within())


@pytest.mark.parametrize("nodes", [2, None])
def test_numa_nodes_are_as_asked_or_left_to_the_host(host, nodes):
    made = host.create(Shape(vcpus=4, memory=Size(256 * MiB), numa_nodes=nodes))
    assert view(made).numa_nodes == nodes
    made.destroy(within())


@pytest.mark.parametrize(
    "shape",
    [
        Shape(vcpus=2, topology=Topology(1, 1, 2)),
        Shape(vcpus=3, topology=Topology(1, 2)),
        Shape(memory=Size(257 * MiB)),
        Shape(vcpus=3, numa_nodes=2),
    ],
    ids=["threads", "odd", "memory", "nodes"],
)
def test_an_impossible_shape_is_refused_before_anything_is_made(host, shape):
    noted = len(host.ledger.notes)
    with pytest.raises(Refused):
        host.create(shape)
    assert host.ledger.notes[noted:] == []


def test_a_network_that_is_not_there_is_named_with_its_nearest(host):
    spec = host.spec()
    lost = replace(spec.nics[0], network=NetworkSpec("m", NetworkKind.NETWORK, "VM Netwrok"))
    with pytest.raises(Refused, match="did you mean 'VM Network'"):
        create(host.access, replace(spec, nics=(lost,)), within())


def test_a_trunk_is_refused_for_no_port_group_is_one(host):
    spec = host.spec()
    network = NetworkSpec("m", NetworkKind.NETWORK, "VM Network", trunk=Trunk(frozenset({7}), native=8))
    with pytest.raises(Refused, match=r"7 tagged and 8 untagged.*native"):
        create(host.access, replace(spec, nics=(replace(spec.nics[0], network=network),)), within())


def test_a_nic_can_be_on_a_distributed_port_group(host):
    network = NetworkSpec("peers", NetworkKind.NETWORK, "DC0_DVPG0")
    made = host.create(nics=(host.nic(5, network=network),))
    assert [nic.network for nic in view(made).nics] == ["peers"]
    made.destroy(within())


def test_destroying_leaves_nothing_whatever_the_state(host):
    """No machine, no folder of the run, no files; doing it again is no error."""
    made = host.create()
    made.start(within())
    made.checkpoint("warm", within(), memory=True)
    made.save(within())
    folder = made._files
    noted = len(host.ledger.notes)
    for _ in range(2):
        made.destroy(within())
    assert host.below("VirtualMachine").keys() == {"image"}
    assert host.below("Folder") == {}
    assert host.access.store.read(f"{folder}/seed.iso", 0, 10, within()) == b""
    gone = set(host.ledger.notes[noted:])
    assert gone == {("gone", ResourceKind.CHECKPOINT, f"{made.id}/warm"), ("gone", ResourceKind.MACHINE, made.id)}
    with pytest.raises(Gone):
        made.view(within())


def test_the_intent_is_noted_before_and_the_handle_after(host, machine):
    kind = ResourceKind.MACHINE
    assert host.ledger.notes[-2:] == [("intent", kind, machine.spec.name), ("made", kind, machine.id)]


def test_a_taken_name_is_refused_and_the_first_machine_unharmed(host, machine):
    """Nothing of the second stays, but the first one's files do."""
    with pytest.raises(NameTaken):
        create(host.access, replace(host.spec(), name=machine.spec.name, owner=OWNER), within())
    assert list(host.below("VirtualMachine")).count(machine.spec.name) == 1
    machine.start(within())


def test_a_clone_that_fails_leaves_nothing(host, monkeypatch):
    """The host's fault is told, and files go again."""
    monkeypatch.setattr(marks.secrets, "token_hex", lambda _: "0badcafe")
    spec = host.spec()
    host.front.refusing["CloneVM_Task"] = 5
    try:
        with pytest.raises(InteropError):
            create(host.access, spec, within())
    finally:
        host.front.refusing.clear()
    folder = f"{host.access.root}/{marks.folder_name(spec.name, OWNER)}"
    assert host.access.store.read(f"{folder}/seed.iso", 0, 10, within()) == b""


@pytest.mark.parametrize("step", ["_complete", "pin"])
def test_a_machine_that_fails_after_its_clone_is_taken_away_whole(host, monkeypatch, step):
    """It is there by then, with its seed and its run's folder."""
    spec, there = host.spec(), []

    def fail(access, ref, *arguments):
        there.extend([*host.below("VirtualMachine"), *host.below("Folder")])
        assert host.raw(SimpleNamespace(id=ref.id), "name") == {"name": spec.name}
        raise LabError("no more of this")

    monkeypatch.setattr(placement if step == "pin" else making, step, fail)
    monkeypatch.setattr(marks.secrets, "token_hex", lambda _: "0badcafe")
    with pytest.raises(LabError, match="no more of this"):
        create(host.access, spec, within())
    assert spec.name in there
    assert len(there) == 3
    assert host.below("VirtualMachine").keys() == {"image"}
    assert host.below("Folder") == {}
    folder = f"{host.access.root}/{marks.folder_name(spec.name, OWNER)}"
    assert host.access.store.read(f"{folder}/seed.iso", 0, 10, within()) == b""


@pytest.mark.parametrize(("status", "body"), [(507, ""), (500, "There is not enough space on the disk.")])
def test_a_datastore_that_is_too_full_for_a_seed_is_told_and_nothing_is_made(host, status, body):
    """By HTTP's own status for it, or in the words of an ESXi."""
    if body:
        host.front.faults["PUT"] = body
    else:
        host.front.refusing["PUT"], host.front.status["PUT"] = 1, status
    before = host.front.calls["CloneVM_Task"]
    try:
        with pytest.raises(LabError, match=f"answered {status}") as caught:
            host.create()
    finally:
        host.front.status.clear()
    assert "free space on the datastore" in caught.value.hint
    assert host.front.calls["CloneVM_Task"] == before
    assert host.below("VirtualMachine").keys() == {"image"}


def test_a_name_that_is_taken_leaves_what_its_machine_stands_on(host, machine):
    """Whoever comes second at the same moment takes nothing along when it goes."""
    with pytest.raises(InteropError):
        create(host.access, machine.spec, within())
    assert host.access.store.read(f"{machine._files}/seed.iso", 0, 100, within())
    machine.start(within())


def test_an_esxi_alone_makes_a_machine_whose_disk_is_a_child_of_the_images(host, monkeypatch):
    """No clone, no folder of the run; everything else as with a vCenter."""
    monkeypatch.setattr(host.session.about, "apiType", "HostAgent")
    before = host.session.trips
    made = host.create()
    assert (host.session.trips - before)["CloneVM_Task"] == 0
    devices = host.raw(made, "config.hardware.device")["config.hardware.device"]
    system = next(one for one in devices if type(one).__name__.endswith("VirtualDisk") and one.unitNumber == 0)
    assert system.backing.parent.fileName == f"[{host.access.store.name}] image/image.vmdk"
    assert host.below("Folder") == {}
    seen = view(made)
    assert (seen.state, seen.vcpus, seen.memory) == (OFF, 2, 512 * MiB)
    assert [disk.serial for disk in seen.disks] == ["data0"]
    made.start(within())
    made.destroy(within())
    assert host.below("VirtualMachine").keys() == {"image"}
