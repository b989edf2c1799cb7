"""The driver's verbs against the twin's model of a host, with PowerShell and without: states, refusals, leftovers."""

import contextlib
import hashlib
import json
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.backends import hyperv
from harness.backends.capabilities import Capability
from harness.backends.hyperv import publish
from harness.backends.hyperv.errors import Full, Gone
from harness.backends.hyperv.offer import offered
from harness.backends.hyperv.steps import Ref, Step
from harness.backends.model import (
    DeviceKind,
    DiskSpec,
    Firmware,
    MachineSpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    Owned,
    Ownership,
    PowerState,
    ResourceKind,
    Shape,
)
from harness.backends.protocol import GuestIgnored, LeaseLost, NicPlug, Refused, WrongState
from harness.backends.registry import Context
from harness.core import Deadline, GiB, LabError, MiB, Size
from harness.image.model import Format, Image
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.emulated import power
from harness.twins.hyperv.twin import Twin
from tests.unit.fake_ledger import NoLedger

OWNER = Ownership("run-1a", "t0k3n", datetime.now(UTC) + timedelta(days=1))
PEERS = NetworkSpec("peers", NetworkKind.NETWORK, "peers")
TAGGED = NetworkSpec("tagged", NetworkKind.NETWORK, "peers", vlan=7)
FIRST, SECOND = "00:15:5d:00:00:01", "00:15:5d:00:00:02"


def soon(seconds=60):
    return Deadline.after(seconds)


@pytest.fixture(scope="module", params=["pwsh", "emulated"])
def twin(request, tmp_path_factory):
    """A host whose machines change their state, and no more."""
    import shutil

    if request.param == "pwsh" and shutil.which("pwsh") is None:
        pytest.skip("pwsh is not on PATH")
    folder = tmp_path_factory.mktemp("twin")
    networks = {"peers": {"kind": "switch"}}
    config = TwinConfig(folder=folder, guests=False, powershell=request.param, networks=networks, merge_seconds=0.5)
    with Twin(config) as twin:
        yield twin


@pytest.fixture(scope="module")
def host(twin, tmp_path_factory):
    """The driver, connected."""
    settings = hyperv.Settings(twin=True).at_twin(twin.said())
    opened = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path_factory.mktemp("scratch")))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A small disk."""
    folder = tmp_path_factory.mktemp("image")
    for name, kind in (("disk.qcow2", "qcow2"), ("disk.vhdx", "vhdx")):
        subprocess.run(["qemu-img", "create", "-q", "-f", kind, folder / name, "64M"], check=True)
    files = {Format.QCOW2: folder / "disk.qcow2", Format.VHDX: folder / "disk.vhdx"}
    return Image("tiny", "ab" * 32, files, Size(64 * MiB))


@pytest.fixture(params=[Firmware.BIOS, Firmware.UEFI], ids=["generation 1", "generation 2"])
def spec(request, host, image, tmp_path):
    """What a test asks for: two NICs, a data disk, a seed."""
    seed = tmp_path / "seed.iso"
    seed.write_bytes(b"seed" * 100_000)
    kind = DeviceKind.EMULATED if request.param is Firmware.BIOS else DeviceKind.SYNTHETIC
    nics = (
        NicSpec(FIRST, PEERS, address="10.79.0.5/24"),
        NicSpec(SECOND, TAGGED, kind=kind, connected=False),
    )
    disks = (DiskSpec("data0", Size(32 * MiB)),)
    shape = Shape(memory=GiB, firmware=request.param, nics=2, max_memory=Size(2 * GiB), data_disks=(disks[0].size,))
    published = host.publish(image, soon())
    return MachineSpec(f"g-{request.param.value}", published, shape, nics, seed, OWNER, disks)


@pytest.fixture
def machine(host, spec):
    """It, off and cold; gone afterwards."""
    made = host.create(spec, soon())
    yield made
    made.destroy(soon())


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
    machine.checkpoint("cold", soon(), memory=False)
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
    assert len(machine.view(soon()).nics) == 2
    with pytest.raises(Refused):
        machine.link("00:15:5d:00:00:0a", True, soon())


def test_sizes_change_while_it_is_off_and_memory_also_while_it_runs(machine):
    """No vCPU is ever added to a running machine."""
    machine.resize(soon(), vcpus=4, memory=Size(1536 * MiB))
    assert (machine.view(soon()).vcpus, machine.view(soon()).memory) == (4, 1536 * MiB)
    machine.start(soon())
    machine.resize(soon(), memory=Size(2 * GiB))
    assert machine.view(soon()).memory == 2 * GiB
    with pytest.raises(Refused, match="vCPUs"):
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


def test_an_image_is_published_in_one_round_trip_where_the_host_fetches_it(twin, image, tmp_path):
    """And one to see that it is not there yet, twice: before and while nobody else brings it."""
    settings = hyperv.Settings(twin=True, pull="127.0.0.1").at_twin(twin.said())
    host = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path / "scratch"))
    try:
        before = host.agents.trips
        host.publish(replace(image, digest="0f" * 32), soon())
        assert host.agents.trips - before == 3
    finally:
        host.close()


def _shells(twin):
    """One an agent: another means that consoles were not pumped for a while."""
    return {shell.shell_id for shell in twin.host.shells.present()}


class TestWaits:
    """What the host or the guest does not do in time is told of them, by the same agent as before."""

    @pytest.mark.parametrize("verb", ["start", "stop", "view", "destroy"])
    def test_a_machine_that_does_not_leave_a_state_is_said_to_be_stuck(self, machine, twin, verb):
        """With what frees it."""
        machine.start(soon())
        before = _shells(twin)
        vm = twin.world.by_id(machine.id)
        vm.state = "Stopping"
        try:
            with pytest.raises(LabError, match="last seen") as caught:
                getattr(machine, verb)(soon(1))
        finally:
            vm.state = "Running"
        assert (caught.value.host, caught.value.operation) == ("win1", verb)
        assert "vmwp.exe" in caught.value.hint
        assert _shells(twin) == before

    def test_a_guest_that_is_asked_to_shut_down_and_stays_up_ignores_it(self, machine, twin, monkeypatch):
        """It is the guest's fault, not the lab's."""
        machine.start(soon())
        before, asked = _shells(twin), []
        monkeypatch.setattr(power, "ask_to_shut_down", lambda vm, *_, **__: asked.append(vm.name))
        with pytest.raises(GuestIgnored, match="it is Running"):
            machine.shutdown(soon(3))
        assert len(asked) == 1
        assert machine.view(soon()).state is PowerState.RUNNING
        assert _shells(twin) == before

    def test_disks_that_are_merged_for_too_long_are_said_to_be(self, machine, twin):
        """Forgetting a checkpoint ends when the host is done with it."""
        machine.checkpoint("one", soon(), memory=False)
        before = _shells(twin)
        vm = twin.world.by_id(machine.id)
        slow = replace(twin.world.settings, merge_seconds=600)
        was, twin.world.settings = twin.world.settings, slow
        try:
            with pytest.raises(LabError, match="merging disks"):
                machine.drop_checkpoint("one", soon(1))
        finally:
            twin.world.settings = was
            vm.merging_until = 0.0
        assert _shells(twin) == before


class TestOwnership:
    """What is ours, and what of it can be taken away."""

    def test_nothing_is_left_of_a_machine(self, host, spec, twin):
        """And destroying it again is no error."""
        machine = host.create(spec, soon())
        assert [thing.handle for thing in host.owned(soon(), "run-1a")] == [machine.id]
        machine.start(soon())
        machine.checkpoint("warm", soon(), memory=True)
        machine.destroy(soon())
        machine.destroy(soon())
        assert list(host.owned(soon())) == []
        assert [path.name for path in (twin.store / "machines").iterdir()] == []

    def test_a_folder_without_a_machine_is_ours_by_its_name(self, host, spec, twin):
        """The process died between two cmdlets."""
        folder = twin.store / "machines" / f"g1~run-1a~t0k3n~{int(OWNER.expiry.timestamp())}"
        folder.mkdir(parents=True)
        (folder / "system.vhdx").write_bytes(b"x")
        (twin.store / "machines" / "somebody's").mkdir()
        thing = next(iter(host.owned(soon())))
        assert (thing.kind, thing.name) == (ResourceKind.FOLDER, "g1")
        with pytest.raises(Refused, match="carries the mark"):
            host.remove(Owned(thing.kind, thing.handle, Ownership("run-1a", "other", OWNER.expiry)), soon())
        host.remove(thing, soon())
        host.remove(thing, soon())
        assert [path.name for path in (twin.store / "machines").iterdir()] == ["somebody's"]
        (twin.store / "machines" / "somebody's").rmdir()

    def test_a_machine_of_somebody_else_is_not_touched(self, host):
        """Whatever its name."""
        make = Step("New-VM", {"Name": "g1~x", "NoVHD": True, "MemoryStartupBytes": GiB}, get=("Id",))
        identity = host.agents.run("make", [make], soon())[0][0]["Id"]
        assert list(host.owned(soon())) == []
        with pytest.raises(Refused, match="not ours"):
            host.remove(Owned(ResourceKind.MACHINE, identity, None), soon())
        with pytest.raises(LabError, match="not ours"):
            host.open(identity, soon())
        remove = [Step("Get-VM", {"Id": identity}, name="vm"), Step("Remove-VM", {"Name": "g1~x", "Force": True})]
        host.agents.run("remove", remove, soon())

    def test_a_machine_that_somebody_else_removed_is_the_labs_fault(self, host, machine, twin):
        """Whatever verb finds out. Its files are still ours, and go."""
        find = Step("Get-VM", {"Id": machine.id}, name="vm")
        host.agents.run("theirs", [find, Step("Remove-VM", {"VM": Ref("vm"), "Force": True})], soon())
        verbs = {
            "view": lambda: machine.view(soon()),
            "start": lambda: machine.start(soon()),
            "stop": lambda: machine.stop(soon()),
            "shutdown": lambda: machine.shutdown(soon()),
            "services": lambda: machine.services(soon()),
            "checkpoints": lambda: machine.checkpoints(soon()),
            "resize": lambda: machine.resize(soon(), vcpus=1),
            "console": lambda: machine.console().read(0, 100),
        }
        for verb, work in verbs.items():
            with pytest.raises(Gone) as caught:
                work()
            assert (caught.value.host, caught.value.operation) == ("win1", verb)
            assert "somebody else removed it" in caught.value.hint
        assert list((twin.store / "machines").iterdir()) != []
        machine.destroy(soon())
        assert list((twin.store / "machines").iterdir()) == []

    def test_a_machine_that_somebody_else_renamed_is_still_ours(self, host, machine, twin):
        """Found by its id, its files by its mark."""
        find = Step("Get-VM", {"Id": machine.id}, name="vm")
        host.agents.run("theirs", [find, Step("Rename-VM", {"VM": Ref("vm"), "NewName": "theirs"})], soon())
        machine.start(soon())
        view = host.open(machine.id, soon()).view(soon())
        assert (view.state, json.loads(view.raw)["vm"]["Name"]) == (PowerState.RUNNING, "theirs")
        assert [(thing.handle, thing.owner.run) for thing in host.owned(soon())] == [(machine.id, "run-1a")]
        machine.destroy(soon())
        assert list(host.owned(soon())) == []
        assert machine.id not in [str(vm.id) for vm in twin.world.all()]
        assert list((twin.store / "machines").iterdir()) == []

    def test_a_creation_that_fails_leaves_nothing(self, host, spec, twin):
        """Here: a switch that is not there."""
        nowhere = replace(spec.nics[0], network=replace(PEERS, source="nowhere"))
        with pytest.raises((LabError, Refused), match="nowhere"):
            host.create(replace(spec, nics=(nowhere, spec.nics[1])), soon())
        assert list(host.owned(soon())) == []
        assert list((twin.store / "machines").iterdir()) == []

    def test_a_run_without_its_lease_does_nothing(self, machine, monkeypatch):
        """Mutating verbs ask first."""

        def lost():
            raise LeaseLost("gone")

        with monkeypatch.context() as patched:
            patched.setattr(machine._host.ledger, "check", lost)
            with pytest.raises(LeaseLost):
                machine.start(soon())
        assert machine.view(soon()).state is PowerState.OFF


class TestPublish:
    """Images, once by content."""

    def test_two_at_once_make_one(self, host, image, twin):
        """And both have it."""
        other = replace(image, digest="cd" * 32)
        found, failed = [], []

        def work():
            try:
                found.append(host.publish(other, soon()))
            except LabError as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert found[0] == found[1]
        assert sorted(path.name for path in (twin.store / "images").iterdir() if "cd" in path.name) == [
            f"{'cd' * 32}.vhdx"
        ]

    @pytest.mark.parametrize("pull", [None, "127.0.0.1"], ids=["sent", "fetched"])
    def test_a_full_disk_is_said_to_be_full_and_nothing_is_left_on_it(self, twin, image, tmp_path, pull, caplog):
        """A volume of 1 MiB, and what the engine itself says of it."""
        images = twin.store / "images"
        images.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(images)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small volume takes root")
        settings = hyperv.Settings(twin=True).at_twin(twin.said()).model_copy(update={"pull": pull})
        host = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path / "scratch"))
        try:
            with pytest.raises(LabError) as caught:
                host.publish(replace(image, digest="fu" * 32), soon())
            assert "free space below" in (caught.value.hint or "")
            assert isinstance(caught.value, Full)
            assert _said(caplog) == [], "it would not fit if it was sent, either"
            assert list(images.iterdir()) == []
        finally:
            host.close()
            subprocess.run(["umount", str(images)], check=True)

    def test_the_host_fetches_it_where_the_lab_says_how(self, pulling, image, caplog):
        """By HTTP with a token, and then hashes it. Nobody writes to it afterwards."""
        published = Path(pulling.publish(replace(image, digest="ef" * 32), soon()).handle)
        assert published.read_bytes() == image.files[Format.VHDX].read_bytes()
        assert published.stat().st_mode & 0o222 == 0
        assert _said(caplog) == []

    @pytest.mark.parametrize("way", ["nobody listens", "refused"])
    def test_what_the_host_cannot_fetch_is_sent(self, pulling, image, caplog, monkeypatch, way):
        """An address that it does not reach, or something in between that says no; the run is told."""

        @contextlib.contextmanager
        def elsewhere(path, address, name):
            with offered(path, address, name) as offer:
                nobody = "http://127.0.0.1:9/" if way == "nobody listens" else offer.url + "x"
                yield replace(offer, url=nobody)

        monkeypatch.setattr(publish, "offered", elsewhere)
        digest = hashlib.sha256(way.encode()).hexdigest()
        published = Path(pulling.publish(replace(image, digest=digest), soon()).handle)
        assert published.read_bytes() == image.files[Format.VHDX].read_bytes()
        assert published.stat().st_mode & 0o222 == 0
        [said] = _said(caplog)
        assert said.startswith("win1: cannot fetch an image by `pull: 127.0.0.1`, so it is sent")
        assert list(pulling.owned(soon())) == []

    def test_what_arrives_damaged_never_gets_the_contents_name(self, pulling, image, twin, tmp_path, monkeypatch):
        """What is left, where the process ends then, is ours by its name, and goes."""
        spoilt = tmp_path / "spoilt"
        spoilt.write_bytes(image.files[Format.VHDX].read_bytes()[:-1] + b"!")
        monkeypatch.setattr(publish, "offered", lambda path, *rest: offered(spoilt, *rest))
        before = _images(twin)
        with pytest.raises(LabError, match="arrived damaged"):
            pulling.publish(replace(image, digest="da" * 32), soon())
        assert _images(twin) == before
        with monkeypatch.context() as dying:
            dying.setattr(publish.Publisher, "discard", lambda *_: None)
            with pytest.raises(LabError, match="arrived damaged"):
                pulling.publish(replace(image, digest="da" * 32), soon())
        [left] = _images(twin) - before
        assert (twin.store / "images" / left).read_bytes() == spoilt.read_bytes()
        [thing] = pulling.owned(soon())
        assert (thing.kind, thing.handle, thing.owner.run) == (ResourceKind.IMAGE, left, "run-1a")
        with pytest.raises(Refused, match="carries the mark"):
            pulling.remove(replace(thing, owner=replace(OWNER, token="other")), soon())
        pulling.remove(thing, soon())
        pulling.remove(thing, soon())
        assert _images(twin) == before


@pytest.fixture
def pulling(twin, tmp_path):
    """The driver of a lab that says how the host reaches us."""
    settings = hyperv.Settings(twin=True, pull="127.0.0.1").at_twin(twin.said())
    opened = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path / "scratch"))
    yield opened
    opened.close()


def _said(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("harness.backends")]


def _images(twin):
    return {path.name for path in (twin.store / "images").glob("*")}
