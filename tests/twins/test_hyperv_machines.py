"""The driver's verbs against the twin's model of a host, with PowerShell and without: what each does and costs."""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.backends import hyperv
from harness.backends.capabilities import Capability
from harness.backends.hyperv.steps import Step
from harness.backends.model import DiskSpec, Firmware, NicSpec, PowerState, Trunk
from harness.backends.protocol import GuestIgnored, HostLoad, NicPlug, Refused, WrongState
from harness.backends.registry import Context
from harness.core import GiB, MiB, Size
from harness.image.model import Image
from harness.twins.hyperv.emulated import performance
from tests.twins.hyperv_driver import FIRST, OWNER, PEERS, SECOND, host, image, machine, spec, twin
from tests.unit.fake_ledger import NoLedger
from tests.unit.powershell import soon

__all__ = ["host", "image", "machine", "spec", "twin"]  # fixtures: tests ask for them by name


def test_a_machine_is_what_was_asked_for(host, machine, spec):
    """As the host itself tells it: nothing that nobody asked for, and the same after it was opened again."""
    view = host.open(machine.id, soon()).view(soon())
    assert (view.state, view.vcpus, view.memory, view.firmware) == (PowerState.OFF, 2, GiB, spec.shape.firmware)
    first, second = view.nics
    assert (first.mac, first.network, first.connected, first.vlan) == (FIRST, "peers", True, None)
    assert (second.mac, second.network, second.connected, second.vlan) == (SECOND, "tagged", False, 7)
    assert [(disk.serial, disk.size) for disk in view.disks] == [("data0", 32 * MiB)]
    assert host.open(machine.id, soon()).spec == spec
    assert json.loads(view.raw)["vm"]["Name"].startswith(spec.name)


def test_power_goes_through_every_state(machine):
    """And a verb that makes no sense is refused before anything was done."""
    state = lambda: machine.view(soon()).state  # noqa: E731
    for verb in (machine.pause, machine.resume, machine.reset, machine.save, machine.restore, machine.nmi):
        with pytest.raises(WrongState, match="is off"):
            verb(soon())
    machine.start(soon())
    assert state() is PowerState.RUNNING
    with pytest.raises(WrongState):
        machine.start(soon())
    machine.pause(soon())
    assert state() is PowerState.PAUSED
    machine.resume(soon())
    machine.reset(soon())
    machine.nmi(soon())
    machine.save(soon())
    assert state() is PowerState.SAVED
    machine.restore(soon())
    assert state() is PowerState.RUNNING
    machine.save(soon())
    machine.stop(soon())
    machine.stop(soon())
    assert state() is PowerState.OFF


def test_checkpoints_bring_memory_or_disks_back(machine):
    """And forgetting one waits until the host has merged its disks."""
    assert machine.checkpoint_files(soon()) == ()
    machine.checkpoint("cold", soon(), memory=False)
    assert len(machine.checkpoint_files(soon())) == 2  # of the system's disk and of the data disk
    with pytest.raises(WrongState):
        machine.checkpoint("warm", soon(), memory=True)
    machine.start(soon())
    machine.checkpoint("warm", soon(), memory=True)
    assert machine.checkpoints(soon()) == ("cold", "warm")
    with pytest.raises(Refused, match="there already"):
        machine.checkpoint("warm", soon(), memory=True)
    machine.stop(soon())
    machine.revert("warm", soon())
    assert machine.view(soon()).state is PowerState.RUNNING
    machine.revert("cold", soon())
    assert machine.view(soon()).state is PowerState.OFF
    assert [disk.serial for disk in machine.view(soon()).disks] == ["data0"]
    with pytest.raises(WrongState, match="no checkpoint"):
        machine.revert("other", soon())
    for name in ("cold", "warm", "warm"):
        machine.drop_checkpoint(name, soon())
    assert machine.checkpoints(soon()) == ()
    assert machine.checkpoint_files(soon()) == ()


def test_a_guest_without_vss_is_not_taken_for_a_quiet_one(machine, twin):
    """Later checkpoints hold memory as before."""
    with pytest.raises(WrongState):
        machine.quiesced_checkpoint("still", soon())
    machine.start(soon())
    with pytest.raises(GuestIgnored, match="VSS daemon froze nothing"):
        machine.quiesced_checkpoint("still", soon())
    assert machine.checkpoints(soon()) == ()
    machine.checkpoint("warm", soon(), memory=True)
    machine.stop(soon())
    machine.revert("warm", soon())
    assert machine.view(soon()).state is PowerState.RUNNING
    with pytest.raises(Refused, match="there already"):
        machine.quiesced_checkpoint("warm", soon())


def test_where_the_lab_wants_production_checkpoints_none_holds_memory(twin, spec, tmp_path):
    """The host is told so when a machine is made, says so before, and going back leaves the machine off."""
    settings = hyperv.Settings(twin=True, checkpoints="production").at_twin(twin.said())
    host = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path / "scratch"))
    with contextlib.closing(host):
        able = host.capabilities(spec.shape)
        assert Capability.CHECKPOINT in able
        assert Capability.CHECKPOINT_WITH_MEMORY not in able
        machine = host.create(spec, soon())
        look = Step("Get-VM", {"Id": machine.id}, get=("CheckpointType",))
        assert host.agents.run("look", [look], soon())[0] == [{"CheckpointType": "ProductionOnly"}]
        machine.checkpoint("cold", soon(), memory=False)
        machine.start(soon())
        with pytest.raises(Refused, match="hold no memory"):
            machine.checkpoint("warm", soon(), memory=True)
        assert machine.checkpoints(soon()) == ("cold",)
        machine.revert("cold", soon())
        assert machine.view(soon()).state is PowerState.OFF
        machine.destroy(soon())


def test_disks_come_grow_and_go_while_it_runs(machine, twin):
    """By the serial they were asked by."""
    machine.start(soon())
    machine.attach_disk(DiskSpec("extra", Size(32 * MiB)), soon())
    with pytest.raises(Refused):
        machine.attach_disk(DiskSpec("extra", Size(32 * MiB)), soon())
    machine.resize_disk("extra", Size(64 * MiB), soon())
    with pytest.raises(Refused, match="does not shrink"):
        machine.resize_disk("extra", Size(16 * MiB), soon())
    assert {disk.serial: disk.size for disk in machine.view(soon()).disks} == {"data0": 32 * MiB, "extra": 64 * MiB}
    assert set(machine.disk_names(soon()).values()) == {"data0", "extra"}
    machine.detach_disk("extra", soon())
    machine.detach_disk("extra", soon())
    assert [disk.serial for disk in machine.view(soon()).disks] == ["data0"]
    assert not list(twin.store.rglob("*extra*"))


def test_a_disk_keeps_the_sectors_that_were_asked_for(machine):
    """However large it becomes, of whole sectors, and through checkpoints."""
    machine.start(soon())
    machine.attach_disk(DiskSpec("large", Size(32 * MiB), 4096), soon())
    with pytest.raises(Refused, match="no whole sectors"):
        machine.resize_disk("large", Size(64 * MiB + 512), soon())
    machine.resize_disk("large", Size(64 * MiB), soon())
    machine.checkpoint("with", soon(), memory=True)
    for _ in range(2):
        assert {disk.serial: disk.sector for disk in machine.view(soon()).disks} == {"data0": 512, "large": 4096}
        machine.revert("with", soon())


def test_a_disk_that_no_checkpoint_has_goes_with_its_file(machine, twin):
    """Whatever checkpoints there are from before it came: it can come again."""
    machine.checkpoint("before", soon(), memory=False)
    for _ in range(2):
        machine.attach_disk(DiskSpec("extra", Size(32 * MiB)), soon())
        machine.detach_disk("extra", soon())
        assert not list(twin.store.rglob("*extra*"))
    machine.attach_disk(DiskSpec("kept", Size(32 * MiB)), soon())
    machine.checkpoint("with", soon(), memory=False)
    machine.detach_disk("kept", soon())
    assert list(twin.store.rglob("*kept*"))


def test_nics_and_cables(machine, spec):
    """Generation 1 takes no NIC while it runs, and has no verb for it; links are cables to switches."""
    machine.link(FIRST, False, soon())
    assert [nic.connected for nic in machine.view(soon()).nics] == [False, False]
    machine.link(FIRST, True, soon())
    machine.link(SECOND, True, soon())
    assert [nic.connected for nic in machine.view(soon()).nics] == [True, True]
    machine.start(soon())
    extra = NicSpec("00:15:5d:00:00:09", PEERS)
    assert isinstance(machine, NicPlug) == (spec.shape.firmware is Firmware.UEFI)
    if isinstance(machine, NicPlug):
        machine.attach_nic(extra, soon())
        machine.link(extra.mac, False, soon())
        machine.link(extra.mac, True, soon())
        assert machine.view(soon()).nics[-1].connected
        machine.detach_nic(extra.mac, soon())
        machine.detach_nic(extra.mac, soon())
        for allowed in ({42, 43}, {42}, set()):
            trunk = Trunk(frozenset(allowed), native=7)
            machine.attach_nic(replace(extra, network=replace(PEERS, trunk=trunk)), soon())
            seen = machine.view(soon()).nics[-1]
            assert (seen.vlan, seen.trunk) == (None, trunk)
            machine.detach_nic(extra.mac, soon())
    assert len(machine.view(soon()).nics) == 2
    with pytest.raises(Refused):
        machine.link("00:15:5d:00:00:0a", True, soon())


def test_sizes_change_while_it_is_off_and_memory_also_while_it_runs(machine):
    """No vCPU is ever added to a running machine, and it is the host that says so."""
    machine.resize(soon(), vcpus=4, memory=Size(1536 * MiB))
    assert (machine.view(soon()).vcpus, machine.view(soon()).memory) == (4, 1536 * MiB)
    machine.start(soon())
    machine.resize(soon(), memory=Size(1792 * MiB))
    assert machine.view(soon()).memory == 1792 * MiB
    with pytest.raises(Refused, match=r"Set-VMProcessor.* current state"):
        machine.resize(soon(), vcpus=2, memory=Size(2 * GiB))
    assert (machine.view(soon()).vcpus, machine.view(soon()).memory) == (4, 1792 * MiB)
    machine.pause(soon())
    with pytest.raises(WrongState):
        machine.resize(soon(), vcpus=2)


def test_services_are_told_whatever_their_names_are_in_the_hosts_language(machine):
    """By GUID; and without a guest none of them answers."""
    machine.start(soon())
    services = {service.name: service for service in machine.services(soon())}
    assert {"heartbeat", "kvp", "shutdown", "timesync", "vss", "file copy"} <= set(services)
    assert not services["heartbeat"].healthy
    assert "twin" in services["heartbeat"].detail
    assert not services["file copy"].enabled
    machine.toggle("file copy", True, soon())
    assert {service.name: service.enabled for service in machine.services(soon())}["file copy"]
    with pytest.raises(GuestIgnored):
        machine.exchange("OSName", soon())
    assert machine.exchange("interop=<&>", soon()) == "<&>"


def pairs(method, *keys, value="größer 値 😀"):
    """A question that changes pairs."""
    return json.dumps({method: dict.fromkeys(keys, value)})


def test_pairs_change_all_at_once_or_not_at_all(machine):
    """Up to 128 in one call; a key that is there is not added, and one that is not is neither changed nor removed."""
    machine.start(soon())
    many = [f"key{number}" for number in range(129)]
    assert machine.exchange(pairs("AddKvpItems", *many[:128]), soon()) == ""
    machine.exchange(pairs("ModifyKvpItems", "key0", "key1", value="new"), soon())
    machine.exchange(pairs("AddKvpItems", "ä" * 255, value="é" * 1023), soon())
    for method, keys, value in (
        ("AddKvpItems", ["key0", "another"], ""),
        ("ModifyKvpItems", ["key0", "another"], ""),
        ("RemoveKvpItems", ["key0", "another"], ""),
        ("AddKvpItems", ["ä" * 256], ""),
        ("AddKvpItems", ["long"], "é" * 1024),
        ("RemoveKvpItems", many, ""),
        ("AddKvpItems", [], ""),
    ):
        with pytest.raises(Refused, match=f"{method} of {len(keys)} pairs .*: 32773"):
            machine.exchange(pairs(method, *keys, value=value), soon())
    machine.exchange(pairs("RemoveKvpItems", *many[:128]), soon())
    machine.toggle("kvp", False, soon())
    with pytest.raises(Refused, match="32768"):
        machine.exchange(pairs("AddKvpItems", "key0"), soon())


def test_a_file_that_no_daemon_takes_is_a_finding_and_leaves_nothing(machine, tmp_path, twin):
    """The staged copy on the host goes away."""
    machine.start(soon())
    source = tmp_path / "file"
    source.write_bytes(b"x" * 500_000)
    with pytest.raises(GuestIgnored):
        machine.copy_file(source, "/tmp/file", soon())
    assert not list(twin.store.rglob("copied"))


def test_evidence_is_there(machine, host):
    """A picture, the host's own record, its clock, and a console that begins empty."""
    machine.start(soon())
    assert machine.screenshot(soon()).startswith(b"\x89PNG")
    events = machine.events(soon())
    assert events
    assert all(machine.id in event.message.lower() for event in events)
    assert machine.console().read(0, 1000) == b""
    assert machine.endpoint(soon()).address == "10.79.0.5"
    assert machine.addresses(soon()) == ()


def test_the_hosts_clock_is_read_with_its_uncertainty(host):
    """Half a round trip."""
    import time

    reading = host.clock(soon())
    assert abs(reading.at - time.time()) < reading.uncertainty + 1


def test_every_verb_is_one_round_trip(host, spec):
    """All its cmdlets, the looks before and the wait after them go in one request."""
    cost = {}

    def of(verb, *args, **options):
        before = host.agents.trips
        result = verb(*args, soon(), **options)
        cost[verb.__name__] = host.agents.trips - before
        return result

    machine = of(host.create, spec)
    of(machine.resize, vcpus=3)
    for name in ("view", "start", "pause", "resume", "save", "restore", "services", "events", "screenshot", "nmi"):
        of(getattr(machine, name))
    of(machine.attach_disk, DiskSpec("data1", Size(8 * MiB)))
    of(machine.resize_disk, "data1", Size(16 * MiB))
    of(machine.disk_names)
    of(machine.detach_disk, "data1")
    of(machine.link, FIRST, False)
    if isinstance(machine, NicPlug):
        of(machine.attach_nic, NicSpec("00:15:5d:00:00:03", PEERS))
        of(machine.detach_nic, "00:15:5d:00:00:03")
    of(machine.toggle, "vss", False)
    of(machine.addresses)
    of(machine.reset)
    of(machine.checkpoint, "one", memory=True)
    of(machine.checkpoints)
    of(machine.revert, "one")
    of(machine.drop_checkpoint, "one")
    of(machine.stop)
    of(host.open, machine.id)
    of(host.owned)
    of(host.publish, Image(spec.image.digest, spec.image.digest, {}, Size(0)))
    of(machine.destroy)
    assert len(cost) >= 27
    assert {name: count for name, count in cost.items() if count != 1} == {}


def test_a_host_tells_how_busy_it_is_and_which_of_its_machines_are_ours(host, machine, monkeypatch):
    """By the hypervisor's counters, of machines that run: ours are known by their notes. Each keeps one processor."""
    assert isinstance(host, HostLoad)
    monkeypatch.setattr(performance, "_spent", lambda vm: time.monotonic())
    theirs = {"Name": "somebody-elses", "MemoryStartupBytes": 64 * MiB, "NoVHD": True}
    host.agents.run("make", [Step("New-VM", theirs), Step("Start-VM", {"Name": "somebody-elses"})], soon())
    try:
        machine.start(soon())
        host.load(soon())  # Windows averages since it was asked before
        found = host.load(soon())
        assert found.processors == os.cpu_count()
        assert 0 <= found.busy <= found.processors
        assert found.ours == pytest.approx(1, abs=0.1)
        machine.stop(soon())
        assert host.load(soon()).ours == 0
    finally:
        names = {"Name": "somebody-elses", "Force": True}
        host.agents.run("drop", [Step("Stop-VM", names | {"TurnOff": True}), Step("Remove-VM", names)], soon())


def test_a_machines_time_is_that_of_the_process_behind_it():
    """Of a machine without a guest it is none."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        try:
            vm = SimpleNamespace(name="one", on=True, config=SimpleNamespace(vcpus=2), machine=burner)
            counters = performance.Performance()
            counters.virtual([vm])
            end = time.monotonic() + 60
            while performance._spent(vm) < 0.5 and time.monotonic() < end:
                pass
            one, two, total = counters.virtual([vm])
        finally:
            burner.kill()
    assert [row["Name"] for row in (one, two, total)] == ["one:Hv VP 0", "one:Hv VP 1", "_Total"]
    assert 0 < one["PercentTotalRunTime"] == two["PercentTotalRunTime"] <= 51
    assert performance._spent(SimpleNamespace(machine=None)) == 0
