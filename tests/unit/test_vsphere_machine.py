"""The verbs of a vSphere machine, proven against the real vcsim; what it has not got is proven at the twin."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends import protocol
from harness.backends.model import (
    MOVED,
    DeviceKind,
    DiskSpec,
    Endpoint,
    Firmware,
    NetworkKind,
    NetworkSpec,
    PowerState,
    ResourceKind,
    Shape,
    Topology,
)
from harness.backends.protocol import GuestIgnored, LeaseLost, Refused, WrongState
from harness.backends.vsphere import collector, history, marks, placement, questions, tasks
from harness.backends.vsphere import create as making
from harness.backends.vsphere.create import create
from harness.backends.vsphere.errors import Gone, NameTaken
from harness.backends.vsphere.machine import VsphereMachine
from harness.backends.vsphere.refs import Ref
from harness.core import InteropError, LabError, MiB, Pending, Size, wait_for
from tests.unit.vsphere_access import OWNER, esxi, within

OFF, RUNNING, SAVED = PowerState.OFF, PowerState.RUNNING, PowerState.SAVED
SMALL = Size(16 * MiB)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """An ESXi in a cluster of a vcsim of this module."""
    with pytest.MonkeyPatch.context() as monkey, esxi(tmp_path_factory.mktemp("vsphere"), monkey) as made:
        yield made


@pytest.fixture
def machine(host):
    """One that is off, with a data disk and room for more of everything."""
    made = host.create()
    yield made
    made.destroy(within())


@pytest.fixture
def running(machine):
    """One that runs."""
    machine.start(within())
    return machine


def view(machine):
    return machine.view(within())


# Making and taking away.


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


@pytest.mark.parametrize(
    "shape",
    [
        Shape(vcpus=2, topology=Topology(1, 1, 2)),
        Shape(vcpus=3, topology=Topology(1, 2)),
        Shape(memory=Size(257 * MiB)),
    ],
    ids=["threads", "odd", "memory"],
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


def test_without_its_lease_nothing_is_changed(host, running):
    """Neither made nor switched nor taken away."""
    host.ledger.lost = True
    try:
        for verb in (
            host.create,
            lambda: running.stop(within()),
            lambda: running.reset(within()),
            lambda: running.save(within()),
            lambda: running.shutdown(within()),
            lambda: running.checkpoint("x", within(), memory=True),
            lambda: running.link("00:50:56:00:00:01", False, within()),
            lambda: running.resize(within(), vcpus=3),
            lambda: running.attach_disk(DiskSpec("x", SMALL), within()),
            lambda: running.destroy(within()),
        ):
            with pytest.raises(LeaseLost):
                verb()
    finally:
        host.ledger.lost = False
    seen = view(running)
    assert (seen.state, seen.vcpus, len(seen.disks), running.checkpoints(within())) == (RUNNING, 2, 1, ())


# Power.


def test_power_goes_through_all_its_states(machine):
    for verb, state in (
        (machine.start, RUNNING),
        (machine.reset, RUNNING),
        (machine.save, SAVED),
        (machine.restore, RUNNING),
        (machine.save, SAVED),
        (machine.start, RUNNING),
        (machine.save, SAVED),
        (machine.stop, OFF),
        (machine.stop, OFF),
        (machine.start, RUNNING),
        (machine.shutdown, OFF),
    ):
        verb(within())
        assert view(machine).state is state


def test_a_guest_that_was_asked_to_stand_by_is_saved_and_continues(host, running):
    """Asked once; the host suspends it when the guest has agreed."""
    before = host.session.trips["StandbyGuest"]
    running.standby(within())
    assert host.session.trips["StandbyGuest"] == before + 1
    wait_for("the guest to stand by", lambda: view(running).state is SAVED or Pending("not yet"), within())
    running.restore(within())
    assert view(running).state is RUNNING


@pytest.mark.parametrize("verb", ["reset", "save", "restore", "shutdown", "reboot", "standby", "screenshot", "nmi"])
def test_a_machine_that_is_off_refuses_what_needs_it_running(machine, verb):
    with pytest.raises(WrongState, match="is off") as caught:
        getattr(machine, verb)(within())
    assert (caught.value.host, caught.value.operation) == ("esx1", verb)


def test_a_guest_without_tools_ignores_what_it_is_asked(running):
    """The host passes it on to tools alone."""
    with pytest.raises(GuestIgnored):
        running.reboot(within(1))
    with pytest.raises(GuestIgnored):
        running.exchange("guestinfo.hostname", within())
    assert view(running).state is RUNNING


def test_a_machine_on_a_lost_esxi_is_the_labs_fault(host, machine):
    """Its state is not known, and is not guessed."""
    other = host.access.session
    esx = Ref("HostSystem", host.access.place.host.id)
    tasks.run(other, "disconnect", esx, "DisconnectHost_Task", within())
    try:
        seen = host.raw(machine, "runtime.connectionState")["runtime.connectionState"]
        if seen == "connected":
            pytest.skip("this vcsim keeps machines connected")
        with pytest.raises(InteropError, match="disconnected"):
            machine.start(within())
    finally:
        tasks.run(other, "reconnect", esx, "ReconnectHost_Task", within(), None, None)


# Checkpoints.


def test_checkpoints_are_listed_oldest_first_and_dropped_by_name(machine):
    for name in ("one", "two", "three"):
        machine.checkpoint(name, within(), memory=False)
    machine.drop_checkpoint("two", within())
    machine.drop_checkpoint("two", within())
    assert machine.checkpoints(within()) == ("one", "three")
    machine.revert("one", within())
    machine.checkpoint("four", within(), memory=False)
    assert machine.checkpoints(within()) == ("one", "three", "four")


def test_a_checkpoint_fits_the_state_and_has_a_name_of_its_own(machine):
    with pytest.raises(WrongState):
        machine.checkpoint("a", within(), memory=True)
    with pytest.raises(Refused):
        machine.checkpoint("no/such name", within(), memory=False)
    machine.checkpoint("a", within(), memory=False)
    with pytest.raises(Refused):
        machine.checkpoint("a", within(), memory=False)
    machine.start(within())
    with pytest.raises(WrongState):
        machine.checkpoint("b", within(), memory=False)
    with pytest.raises(WrongState):
        machine.revert("never-taken", within())
    assert machine.checkpoints(within()) == ("a",)


# Sizes.


def test_sizes_grow_while_running_up_to_what_the_shape_keeps_room_for(running):
    running.resize(within(), vcpus=3, memory=Size(768 * MiB))
    assert (view(running).vcpus, view(running).memory) == (3, 768 * MiB)
    for change in ({"vcpus": 5}, {"vcpus": 1}, {"memory": Size(2048 * MiB)}, {"memory": Size(256 * MiB)}):
        with pytest.raises(Refused):
            running.resize(within(), **change)
    assert (view(running).vcpus, view(running).memory) == (3, 768 * MiB)


def test_a_shape_without_room_is_not_hot_added_to(host):
    made = host.create(Shape(vcpus=1, memory=Size(256 * MiB)))
    assert host.raw(made, "config.cpuHotAddEnabled").get("config.cpuHotAddEnabled") is not True
    made.start(within())
    with pytest.raises(Refused):
        made.resize(within(), vcpus=2)
    made.destroy(within())


def test_a_machine_that_is_off_takes_any_size(host):
    made = host.create(Shape(vcpus=2, memory=Size(256 * MiB), topology=Topology(1, 2)))
    made.resize(within(), vcpus=3, memory=Size(384 * MiB))
    assert (view(made).vcpus, view(made).memory, view(made).topology) == (3, 384 * MiB, Topology(3, 1))
    with pytest.raises(Refused):
        made.resize(within(), memory=Size(383 * MiB))
    with pytest.raises(Refused):
        made.resize(within(), vcpus=0)
    made.destroy(within())


# Disks and NICs.


@pytest.mark.parametrize("started", [False, True], ids=["off", "running"])
def test_a_disk_comes_grows_and_goes(machine, started):
    if started:
        machine.start(within())
    plugged = machine.attach_disk(DiskSpec("late", SMALL), within())
    assert plugged in view(machine).disks
    with pytest.raises(Refused):
        machine.attach_disk(DiskSpec("late", SMALL), within())
    names = machine.disk_names(within())
    assert sorted(names.values()) == ["data0", "late"]
    assert all(len(number) == 32 and set(number) <= set("0123456789abcdef") for number in names)
    machine.resize_disk("late", Size(2 * SMALL), within())
    with pytest.raises(Refused):
        machine.resize_disk("late", SMALL, within())
    assert {disk.serial: disk.size for disk in view(machine).disks} == {"data0": 32 * MiB, "late": 2 * SMALL}
    for _ in range(2):
        machine.detach_disk("late", within())
    assert [disk.serial for disk in view(machine).disks] == ["data0"]


def test_a_controller_has_room_for_fourteen_data_disks_and_says_so(host, machine):
    for number in range(13):
        machine.attach_disk(DiskSpec(f"more{number}", Size(MiB)), within())
    with pytest.raises(Refused, match="no unit"):
        machine.attach_disk(DiskSpec("one-too-many", Size(MiB)), within())
    assert len(view(machine).disks) == 14


@pytest.mark.parametrize("started", [False, True], ids=["off", "running"])
def test_a_nic_comes_with_its_cable_out_is_plugged_and_goes(host, machine, started):
    if started:
        machine.start(within())
    nic = host.nic(9, network=NetworkSpec("peers", NetworkKind.NETWORK, "VM Network", vlan=7), connected=False)
    machine.attach_nic(replace(nic, kind=DeviceKind.EMULATED), within())
    shown = {one.mac: one for one in view(machine).nics}
    assert (shown[nic.mac].network, shown[nic.mac].vlan, shown[nic.mac].model) == ("peers", 7, "e1000e")
    assert not shown[nic.mac].connected
    with pytest.raises(Refused):
        machine.attach_nic(nic, within())
    for up in (True, True, False, False):
        machine.link(nic.mac, up, within())
        assert {one.mac: one.connected for one in view(machine).nics}[nic.mac] is up
    for _ in range(2):
        machine.detach_nic(nic.mac.upper(), within())
    assert [one.mac for one in view(machine).nics] == ["00:50:56:00:00:01"]
    with pytest.raises(Refused):
        machine.link(nic.mac, True, within())


def test_the_endpoint_is_what_the_lab_reserved(host, machine):
    """Without a question to anybody."""
    before = host.session.trips
    assert machine.endpoint(within()) == Endpoint("127.78.0.1", 2222)
    assert host.session.trips == before
    plain = VsphereMachine(
        host.access, Ref("VirtualMachine", "vm-0"), marks.Mark(OWNER, replace(machine.spec, nics=(host.nic(7),)), "")
    )
    assert plain.endpoint(within()) == Endpoint("10.78.0.7", 22)


# Evidence.


def test_the_console_is_a_file_that_is_read_by_range(host, machine):
    """Reading consumes nothing, and beyond the end there is nothing."""
    console = machine.console()
    assert isinstance(console, protocol.Console)
    assert console.read(0, 100) == b""
    log = host.folder / "log"
    log.write_bytes(bytes(range(256)) * 4)
    host.access.store.put(log, f"{machine._files}/serial.log", within())
    assert console.read(10, 5) == console.read(10, 5) == bytes(range(10, 15))
    assert console.read(1000, 4096) == (bytes(range(256)) * 4)[1000:]
    assert console.read(1 << 40, 4096) == b""
    with pytest.raises(Refused):
        console.write(b"x")


def test_the_hosts_record_tells_what_happened_oldest_first(running):
    running.stop(within())
    events = running.events(within())
    kinds = [event.kind for event in events]
    assert kinds.index("created") < kinds.index("powered-on") < kinds.index("powered-off")
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert all(event.message and event.at.tzinfo for event in events)
    assert all(running.spec.name in event.message for event in events if event.kind.startswith("powered"))


def test_a_record_is_asked_for_again_when_the_vcenter_was_away(host, running):
    """It only reads, and without it a test's result would be unknown."""
    for trouble in (host.front.refusing, host.front.cutting):
        trouble["QueryEvents"] = 2
        assert "powered-on" in {event.kind for event in running.events(within())}
        assert trouble["QueryEvents"] == 0


def test_the_description_names_the_machine_and_its_nics(machine):
    raw = view(machine).raw
    assert machine.spec.name in raw
    assert machine.spec.nics[0].mac in raw
    assert "null" not in raw


def test_tools_that_do_not_run_give_no_heartbeat_and_no_addresses(machine):
    for _ in range(2):
        heartbeat, *_rest = machine.services(within())
        assert (heartbeat.name, heartbeat.healthy) == ("heartbeat", False)
        assert machine.addresses(within()) == ()
        if view(machine).state is OFF:
            machine.start(within())


def test_addresses_are_those_of_our_own_nics(host, running, monkeypatch):
    """A guest's tools tell of its bridges and containers too, which have other MACs."""
    mine, foreign = host.nic(1).mac, "02:42:ac:11:00:01"
    told = [
        vim.vm.GuestInfo.NicInfo(macAddress=foreign, ipAddress=["192.168.122.1"], connected=True, deviceConfigId=-1),
        vim.vm.GuestInfo.NicInfo(
            macAddress=mine.upper(), ipAddress=["10.78.0.1", "fe80::1"], connected=True, deviceConfigId=4000
        ),
        vim.vm.GuestInfo.NicInfo(ipAddress=["172.17.0.1"], connected=True, deviceConfigId=-1),
    ]
    real = VsphereMachine._read
    monkeypatch.setattr(VsphereMachine, "_read", lambda *arguments: real(*arguments) | {"guest.net": told})
    found = running.addresses(within())
    assert [(view.mac, view.address) for view in found] == [(mine, "10.78.0.1"), (mine, "fe80::1")]
    assert {view.source for view in found} == {"tools"}
    running.stop(within())
    assert running.addresses(within()) == ()


def test_a_key_of_guestinfo_can_be_set_and_others_are_refused(host, running):
    assert running.exchange("guestinfo.interop=7", within()) == "7"
    extra = {one.key: one.value for one in host.raw(running, "config.extraConfig")["config.extraConfig"]}
    assert extra["guestinfo.interop"] == "7"
    with pytest.raises(Refused):
        running.exchange("interop-no-such-question", within())


# Round trips.


@pytest.mark.parametrize(
    ("verb", "most"),
    [
        (lambda m: m.view(within()), 1),
        (lambda m: m.events(within()), 2),
        (lambda m: m.services(within()), 1),
        (lambda m: m.addresses(within()), 1),
        (lambda m: m.checkpoints(within()), 1),
        (lambda m: m.disk_names(within()), 1),
        (lambda m: m.link("00:50:56:00:00:01", True, within()), 1),
        (lambda m: m.resize(within(), vcpus=3), 5),
        (lambda m: m.checkpoint("c", within(), memory=True), 5),
        (lambda m: m.reset(within()), 5),
    ],
)
def test_a_verb_takes_as_few_round_trips_as_the_protocol_allows(host, running, verb, most):
    """A read is one; a task is one more, and three to wait for it, besides what it waits longer for."""
    before = host.session.trips
    verb(running)
    spent = host.session.trips - before
    spent["WaitForUpdatesEx"] = min(spent["WaitForUpdatesEx"], 1)
    assert spent.total() <= most, spent


# What a vCenter has and an ESXi alone has not.


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


# Moves.


def test_a_machine_in_a_cluster_is_kept_from_its_rules(host, machine):
    """DRS does not move this one; that is said on the cluster, which has DRS on."""
    cluster = host.access.place.cluster
    path = "configurationEx"
    rules = collector.read_one(host.session, cluster, path, deadline=within())[path].drsVmConfig
    assert [rule.enabled for rule in rules if rule.key._GetMoId() == machine.id] == [False]


@pytest.fixture
def ruled(host):
    """Sets what the cluster does by itself, and sets it back."""
    cluster = host.access.place.cluster

    def rule(drs="fullyAutomated", ha=False):
        spec = vim.cluster.ConfigSpecEx(
            drsConfig=vim.cluster.DrsConfigInfo(enabled=bool(drs), defaultVmBehavior=drs or None),
            dasConfig=vim.cluster.DasConfigInfo(enabled=ha),
        )
        tasks.run(host.session, "rule", cluster, "ReconfigureComputeResource_Task", within(), spec, True)

    yield rule
    rule()


@pytest.mark.parametrize("drs", ["fullyAutomated", "partiallyAutomated", ""])
def test_a_machine_is_neither_restarted_nor_reset_by_ha(host, ruled, drs):
    """Whatever DRS does."""
    ruled(drs, ha=True)
    made = host.create()
    config = collector.read_one(host.session, host.access.place.cluster, "configurationEx", deadline=within())
    config = config["configurationEx"]
    (rule,) = [rule.dasSettings for rule in config.dasVmConfig if rule.key._GetMoId() == made.id]
    assert rule.restartPriority == "disabled"
    assert rule.vmToolsMonitoringSettings.vmMonitoring == "vmMonitoringDisabled"
    assert rule.vmToolsMonitoringSettings.clusterSettings is False
    moved = [rule for rule in config.drsVmConfig if rule.key._GetMoId() == made.id]
    assert bool(moved) is (drs == "fullyAutomated")
    made.destroy(within())


@pytest.mark.parametrize("drs", ["partiallyAutomated", "manual", ""])
def test_a_cluster_whose_owner_has_set_the_rule_is_left_as_it_is(host, ruled, drs):
    """The one that the check, the report and docs/vsphere-host.md ask for."""
    ruled(drs)
    before = host.front.calls["ReconfigureComputeResource_Task"]
    host.create().destroy(within())
    assert host.front.calls["ReconfigureComputeResource_Task"] == before


def test_where_the_cluster_may_not_be_changed_the_missing_rule_is_noted_and_nothing_fails(host):
    """Once: the account will not have gained the right by the next machine."""
    access = replace(host.access, notes={})
    host.front.refusing["ReconfigureComputeResource_Task"] = 1
    for _ in range(2):
        create(access, host.spec(), within()).destroy(within())
    assert access.notes[placement.NOTE].startswith("DRS may move or reset guests (")
    assert access.notes[placement.NOTE].endswith(f"without Host.Inventory.EditCluster {placement.RULE}")
    assert host.front.refusing["ReconfigureComputeResource_Task"] == 0


def test_a_machine_that_was_taken_to_another_esxi_says_so(host, running):
    """By the host's own record: what was measured meanwhile means nothing."""
    others = collector.children(host.session, host.session.root, "HostSystem", ["name"], within())
    other = next(ref for ref, values in others.items() if values["name"] == "DC0_C0_H1")
    assert MOVED not in {event.kind for event in running.events(within())}
    machine = Ref("VirtualMachine", running.id)
    where = vim.vm.RelocateSpec(host=other.managed)
    tasks.run(host.session, "move", machine, "RelocateVM_Task", within(), where, "defaultPriority")
    moved = [event for event in running.events(within()) if event.kind == MOVED]
    assert moved
    assert all("igrat" in event.message for event in moved), moved


@pytest.mark.parametrize(
    ("event", "moved"),
    [
        (vim.event.DrsVmMigratedEvent, True),
        (vim.event.VmDasBeingResetWithScreenshotEvent, True),
        (vim.event.VmRestartedOnAlternateHostEvent, True),
        (vim.event.VmResettingEvent, False),
        (vim.event.VmPoweredOnEvent, False),
    ],
)
def test_what_the_cluster_did_is_told_from_what_was_asked(event, moved):
    made = event(key=1, createdTime=datetime.now(UTC), fullFormattedMessage="something happened")
    assert (history.told(made).kind == MOVED) is moved


def test_the_end_of_the_machines_own_log_is_part_of_its_record(host, machine):
    """With the times of its lines; either form."""
    where = host.raw(machine, "config.files.logDirectory")["config.files.logDirectory"]
    folder = where.partition("] ")[2]
    log = host.folder / "vmware.log"
    log.write_text(
        "2024-05-01T12:00:00.123Z In(05) vmx - first\n\tmore of it\n2024-05-01T14:00:01.5+02:00| vcpu-0| W115: later\n"
    )
    host.access.store.put(log, f"{folder}/vmware.log", within())
    events = [event for event in machine.events(within()) if event.kind == "vmware-log"]
    assert [event.message for event in events] == ["In(05) vmx - first", "more of it", "vcpu-0| W115: later"]
    assert [event.at.second for event in events] == [0, 0, 1]
    assert {event.at.hour for event in events} == {12}


def test_a_restart_by_ha_is_a_move_though_it_has_no_class_of_its_own():
    made = vim.event.EventEx(
        key=1, createdTime=datetime.now(UTC), eventTypeId="com.vmware.vc.ha.VmRestartedByHAEvent", message="x"
    )
    assert history.told(made).kind == MOVED


# Questions.


def question(identity, text, *choices, default=None):
    """What a machine asks; a choice is its label, or its label and its summary, which is what people read."""
    pairs = [(choice, "") if isinstance(choice, str) else choice for choice in choices]
    options = [
        vim.ElementDescription(key=str(number), label=label, summary=summary)
        for number, (label, summary) in enumerate(pairs)
    ]
    return vim.vm.QuestionInfo(
        id="7",
        text=text,
        choice=vim.option.ChoiceOption(choiceInfo=options, defaultIndex=default),
        message=[vim.vm.Message(id=identity, text=text)],
    )


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (question("msg.serial.file.open", "The file exists.", "Append", "Replace", "Cancel", default=0), "1"),
        (question("msg.uuid.altered", "Moved or copied?", "Cancel", "I _Moved It", "I _Copied It"), "2"),
        (question("msg.something.else", "Really?", "No", "Yes", default=1), "1"),
        (
            question("msg.uuid.altered", "?", ("button.cancel", "Cancel"), ("button.uuid.copiedTheVM", "I _Copied It")),
            "1",
        ),
        (question("msg.serial.file.open", "?", ("button.append", "_Append"), ("button.replace", "_Replace")), "1"),
        (question("msg.cdromdisconnect.locked", "Override?", ("button.no", ""), ("button.yes", "")), "1"),
    ],
    ids=["serial", "copied", "default", "summary", "underscore", "name"],
)
def test_a_question_is_answered(asked, chosen):
    assert questions.answer(asked, "esx1", "start") == chosen


@pytest.mark.parametrize(
    "asked",
    [
        question("msg.hbacommon.outofspace", "There is no more space.", "Retry", "Cancel", default=0),
        question("msg.something.else", "Which?", "This", "That"),
    ],
    ids=["space", "no-default"],
)
def test_a_question_that_no_answer_helps_fails_with_its_words(asked):
    with pytest.raises(LabError, match=r"asks .*(space|Which)") as caught:
        questions.answer(asked, "esx1", "start")
    assert (caught.value.host, caught.value.operation) == ("esx1", "start")


SPACE = question("msg.hbacommon.outofspace", "No space.", ("button.retry", "_Retry"), ("button.abort", "_Cancel"))


def test_a_machine_that_is_to_stop_anyway_may_give_up():
    """Of what has an answer that helps, that one is given all the same."""
    assert questions.answer(SPACE, "esx1", "stop", ending=True) == "1"
    copied = question("msg.uuid.altered", "Moved or copied?", "Cancel", "I _Copied It")
    assert questions.answer(copied, "esx1", "stop", ending=True) == "1"
    with pytest.raises(LabError, match="no answer would help"):
        questions.answer(question("msg.something.else", "Which?", "This", "That"), "esx1", "stop", ending=True)


def test_a_question_is_told_with_its_answers_as_people_read_them():
    assert questions.told(SPACE) == "the machine asks 'No space.' (Retry, Cancel)"
