"""Uploads, snapshots and clones: what a client stored is what QEMU reads."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from harness.twins.vsphere.control import Control, Plan
from tests.twins.vsphere.client import MIB, Client, Failed, disk, edited, of, removed
from tests.twins.vsphere.running import TwinProcess


def bodies(twin: TwinProcess) -> list[Path]:
    return [path for path in (twin.folder / "bodies").rglob("*") if path.is_file()]


def stored(twin: TwinProcess) -> set[Path]:
    """The files of the datastore, as its clients find them."""
    return {path for path in (twin.folder / "datastore").rglob("*") if path.is_file()}


def chains(twin: TwinProcess) -> list[str]:
    """What the running QEMUs have open."""
    words = []
    for pid, name in twin.descendants().items():
        if name.startswith("qemu-system"):
            words += [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return words


def same(one: str, other: Path) -> bool:
    words = ["qemu-img", "compare", "-U", one, str(other)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def test_an_upload_is_kept_as_it_is_and_a_linked_clone_runs_from_it(
    client: Client, twin: TwinProcess, image: Path
) -> None:
    base = client.imported("base", image, 8)
    (body,) = bodies(twin)
    assert body.read_bytes() == image.read_bytes()
    snapshot = client.done(base.CreateSnapshot_Task("base", "", False, False))
    clone = client.clone(base, snapshot, "linked", numCPUs=2, memoryMB=256, annotation="mine", cpuHotAddEnabled=True)
    assert clone.config.hardware.numCPU == 2
    assert clone.config.hardware.memoryMB == 256
    assert clone.config.annotation == "mine"
    assert clone.config.cpuHotAddEnabled
    (linked,) = of(clone, vim.vm.device.VirtualDisk)
    assert linked.backing.parent.fileName == of(base, vim.vm.device.VirtualDisk)[0].backing.fileName
    client.done(clone.PowerOnVM_Task())
    assert any(same(name, image) for name in chains(twin) if name.endswith(".qcow2"))


def test_an_upload_goes_with_the_last_machine_that_stands_on_it(client: Client, twin: TwinProcess, image: Path) -> None:
    base = client.imported("parent", image, 8)
    clone = client.clone(base, client.done(base.CreateSnapshot_Task("base", "", False, False)), "child")
    client.done(clone.PowerOnVM_Task())
    client.done(base.Destroy_Task())
    assert bodies(twin)
    client.done(clone.PowerOffVM_Task())
    client.done(clone.PowerOnVM_Task())
    client.done(clone.PowerOffVM_Task())
    client.done(clone.Destroy_Task())
    assert not bodies(twin)


def test_a_linked_clone_needs_a_snapshot(client: Client, image: Path) -> None:
    base = client.imported("bare", image, 8)
    with pytest.raises(Failed) as failed:
        client.clone(base, None, "linked")
    assert isinstance(failed.value.fault, vmodl_invalid())


def vmodl_invalid() -> type:
    from pyVmomi import vmodl

    return vmodl.fault.InvalidArgument


def test_an_aborted_import_leaves_nothing(client: Client, twin: TwinProcess, image: Path) -> None:
    lease = client.lease("half", 8)
    client.upload(lease, image)
    lease.HttpNfcLeaseAbort()
    assert client.named("half") is None
    assert not bodies(twin)
    assert not (twin.folder / "datastore" / "half").exists()


def test_an_import_of_which_nothing_is_heard_ends(
    client: Client, twin: TwinProcess, image: Path, control: Control
) -> None:
    control.plan(Plan(lease_seconds=1))
    lease = client.lease("late", 8)
    client.lease_ends(lease)
    assert isinstance(lease.error, vim.fault.Timedout)
    assert client.named("late") is None
    assert client.upload_refused(lease, image)


def test_an_upload_that_breaks_keeps_nothing(client: Client, twin: TwinProcess, image: Path, control: Control) -> None:
    control.plan(Plan(cut=True, path="/nfc", after=100, count=1))
    lease = client.lease("broken", 8)
    assert client.upload_refused(lease, image)
    assert not bodies(twin)
    lease.HttpNfcLeaseAbort()


def test_a_full_datastore_takes_no_image(client: Client, image: Path, control: Control) -> None:
    lease = client.lease("full", 8)
    control.plan(Plan(free=1000))
    assert client.all(vim.Datastore)[0].summary.freeSpace == 1000
    assert client.upload_refused(lease, image)
    assert lease.state == "error"
    assert isinstance(lease.error, vim.fault.NoDiskSpace)


def test_a_memory_snapshot_brings_the_machine_back_running_and_smaller(client: Client) -> None:
    machine = client.create("memory", disks=(16,), cpuHotAddEnabled=True)
    client.done(machine.PowerOnVM_Task())
    snapshot = client.done(machine.CreateSnapshot_Task("warm", "", True, False))
    assert machine.snapshot.rootSnapshotList[0].state == "poweredOn"
    client.reconfigure(machine, numCPUs=2)
    client.done(machine.PowerOffVM_Task())
    client.done(snapshot.RevertToSnapshot_Task())
    assert machine.runtime.powerState == "poweredOn"
    assert machine.config.hardware.numCPU == 1
    client.done(snapshot.RemoveSnapshot_Task(False))
    assert machine.snapshot is None or not machine.snapshot.rootSnapshotList


def test_a_snapshot_of_disks_alone_brings_the_machine_back_off(client: Client) -> None:
    machine = client.create("disks", disks=(16,))
    client.done(machine.PowerOnVM_Task())
    snapshot = client.done(machine.CreateSnapshot_Task("cold", "", False, False))
    assert machine.snapshot.rootSnapshotList[0].state == "poweredOff"
    client.done(snapshot.RevertToSnapshot_Task())
    assert machine.runtime.powerState == "poweredOff"


def test_snapshots_form_a_tree(client: Client) -> None:
    machine = client.create("tree", disks=(16,))
    first = client.done(machine.CreateSnapshot_Task("first", "", False, False))
    client.done(machine.CreateSnapshot_Task("second", "", False, False))
    client.done(first.RevertToSnapshot_Task())
    assert machine.snapshot.currentSnapshot == first
    client.done(machine.CreateSnapshot_Task("third", "", False, False))
    (root,) = machine.snapshot.rootSnapshotList
    assert [child.name for child in root.childSnapshotList] == ["second", "third"]
    client.done(machine.RemoveAllSnapshots_Task())
    assert not machine.rootSnapshot


def test_snapshots_of_a_linked_clone_go_with_their_files_and_no_disk_goes_with_them(
    client: Client, twin: TwinProcess, image: Path
) -> None:
    """In whatever order they go: files on the way are numbered anew each time that one does."""
    base = client.imported("ground", image, 8)
    clone = client.clone(base, client.done(base.CreateSnapshot_Task("base", "", False, False)), "above")
    before = stored(twin)
    held = [client.done(clone.CreateSnapshot_Task(name, "", False, False)) for name in ("one", "two", "three")]
    assert len(stored(twin) - before) == len(held)
    for snapshot in (held[1], held[0], held[2]):
        client.done(snapshot.RemoveSnapshot_Task(False))
        assert stored(twin) >= before
    assert stored(twin) == before
    client.done(clone.PowerOnVM_Task())


def test_the_present_snapshot_goes_though_nothing_is_above_it(client: Client) -> None:
    """What stood on it stays, and the machine stands on none until it has another."""
    machine = client.create("root", disks=(16,))
    first = client.done(machine.CreateSnapshot_Task("first", "", False, False))
    second = client.done(machine.CreateSnapshot_Task("second", "", False, False))
    client.done(first.RevertToSnapshot_Task())
    client.done(first.RemoveSnapshot_Task(False))
    assert machine.snapshot.currentSnapshot is None
    assert [item.snapshot for item in machine.snapshot.rootSnapshotList] == [second]
    client.done(second.RevertToSnapshot_Task())
    assert machine.snapshot.currentSnapshot == second


def test_a_disk_is_added_grown_and_taken_away_while_the_machine_runs(client: Client) -> None:
    machine = client.create("plug", disks=(16,))
    client.done(machine.PowerOnVM_Task())
    (controller,) = of(machine, vim.vm.device.ParaVirtualSCSIController)
    extra = vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk(1, 16, controller.key))
    client.reconfigure(machine, extra)
    new = of(machine, vim.vm.device.VirtualDisk)[1]
    new.capacityInBytes, new.capacityInKB = 32 * MIB, 32 * 1024
    client.reconfigure(machine, edited(new))
    assert of(machine, vim.vm.device.VirtualDisk)[1].capacityInBytes == 32 * MIB
    client.done(machine.PowerOffVM_Task())  # SeaBIOS lets go of no disk
    client.reconfigure(machine, removed(of(machine, vim.vm.device.VirtualDisk)[1], destroy=True))
    assert len(of(machine, vim.vm.device.VirtualDisk)) == 1


def grown(disk: Any, size: int) -> vim.vm.device.VirtualDeviceSpec:
    disk.capacityInBytes, disk.capacityInKB = size * MIB, size * 1024
    return edited(disk)


def test_disks_grow_only_and_not_above_a_parent(client: Client) -> None:
    """Each disk for itself: one that came after a snapshot stands on nothing."""
    machine = client.create("size", disks=(16,))
    (system,) = of(machine, vim.vm.device.VirtualDisk)
    with pytest.raises(Failed, match="disks grow only"):
        client.reconfigure(machine, grown(system, 8))
    held = client.done(machine.CreateSnapshot_Task("held", "", False, False))
    with pytest.raises(Failed, match="with a parent"):
        client.reconfigure(machine, grown(system, 32))
    late = disk(1, 16, system.controllerKey)
    client.reconfigure(machine, vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=late))
    client.reconfigure(machine, grown(of(machine, vim.vm.device.VirtualDisk)[1], 32))
    assert [found.capacityInBytes for found in of(machine, vim.vm.device.VirtualDisk)] == [16 * MIB, 32 * MIB]
    client.done(held.RemoveSnapshot_Task(False))
    client.reconfigure(machine, grown(system, 32))
    assert of(machine, vim.vm.device.VirtualDisk)[0].capacityInBytes == 32 * MIB


def test_the_disk_of_a_linked_clone_does_not_grow(client: Client, image: Path) -> None:
    base = client.imported("grower", image, 8)
    snapshot = client.done(base.CreateSnapshot_Task("base", "", False, False))
    copy = client.clone(base, snapshot, "grown")
    with pytest.raises(Failed, match="with a parent"):
        client.reconfigure(copy, grown(of(copy, vim.vm.device.VirtualDisk)[0], 16))


def test_a_disk_that_came_by_the_wrong_door_does_not_run(client: Client, image: Path) -> None:
    """StreamOptimized VMDKs are for imports; ESXi refuses to run a machine from one."""
    client.web.put(client.file("wrong/wrong.vmdk"), data=image.read_bytes()).raise_for_status()
    machine = client.create("attached")
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        diskMode="persistent", fileName=f"[{client.store}] wrong/wrong.vmdk"
    )
    (controller,) = of(machine, vim.vm.device.ParaVirtualSCSIController)
    device = vim.vm.device.VirtualDisk(
        key=-1, controllerKey=controller.key, unitNumber=0, backing=backing, capacityInKB=8 * 1024
    )
    client.reconfigure(machine, vim.vm.device.VirtualDeviceSpec(operation="add", device=device))
    with pytest.raises(Failed, match="unsupported or invalid disk type"):
        client.done(machine.PowerOnVM_Task())


def test_the_image_reads_the_same_through_the_twin(client: Client, twin: TwinProcess, image: Path) -> None:
    base = client.imported("bits", image, 8)
    client.done(base.CreateSnapshot_Task("base", "", False, False))
    (body,) = bodies(twin)
    assert same(str(body), image)
