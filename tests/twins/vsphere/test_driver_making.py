"""Our driver against the twin as it is run: how an image gets there, and a machine comes of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pyVmomi import vim

from harness.backends.model import DiskSpec, Firmware, MachineSpec, NetworkKind, NetworkSpec, NicSpec, Shape, Topology
from harness.backends.vsphere import transfer
from harness.core import GiB, MiB, Size
from harness.core.waiting import pause
from tests.twins.vsphere.client import Client
from tests.twins.vsphere.driving import OWNER, opened, small, within
from tests.twins.vsphere.running import TwinProcess

PATIENCE = 4
"""Seconds; the driver tells its progress every other one."""


def test_a_machine_is_what_was_asked_by_one_clone_and_nothing_after_it(
    twin: TwinProcess, client: Client, image: Path, tmp_path: Path
) -> None:
    """Its configuration stands in the clone's specification: neither we nor the host know of a change afterwards."""
    shape = Shape(
        vcpus=2,
        memory=Size(384 * MiB),
        max_vcpus=4,
        max_memory=Size(GiB),
        firmware=Firmware.UEFI,
        topology=Topology(2, 1),
        data_disks=(Size(16 * MiB),),
    )
    seed = tmp_path / "seed.iso"
    seed.write_bytes(b"no seed")
    network = NetworkSpec("management", NetworkKind.NETWORK, "VM Network")
    nics = (NicSpec("00:50:56:00:20:01", network),)
    driver = opened(twin.record, tmp_path)
    try:
        published = driver.publish(small(image, "made"), within())
        spec = MachineSpec("made", published, shape, nics, seed, OWNER, disks=(DiskSpec("data", Size(16 * MiB)),))
        before = driver.session.trips
        machine = driver.create(spec, within())
        spent = driver.session.trips - before
        assert (spent["CloneVM_Task"], spent["ReconfigVM_Task"], spent["CreateVM_Task"]) == (1, 0, 0)
        view = machine.view(within())
        assert (view.vcpus, view.max_vcpus, view.memory, view.firmware) == (2, 4, 384 * MiB, Firmware.UEFI)
        assert ([nic.mac for nic in view.nics], [disk.serial for disk in view.disks]) == ([nics[0].mac], ["data"])
        theirs = vim.VirtualMachine(machine.id, client.stub)
        by = vim.event.EventFilterSpec(entity=vim.event.EventFilterSpec.ByEntity(entity=theirs, recursion="self"))
        events = client.content.eventManager.QueryEvents(by)
        assert [each for each in events if isinstance(each, vim.event.VmClonedEvent)]
        assert not [each for each in events if isinstance(each, vim.event.VmReconfiguredEvent)]
        machine.destroy(within())
    finally:
        driver.close()


def test_an_upload_that_stands_still_for_longer_than_the_lease_waits_is_kept_alive(
    simulator: Path, image: Path, tmp_path: Path
) -> None:
    """By what the driver tells of its progress meanwhile: no byte passes."""
    halts = []
    real = transfer.Stream.read

    def halting(stream: transfer.Stream, size: int = 1 << 20) -> bytes:
        piece = real(stream, min(size, 512))
        if stream.sent == 512:
            halts.append(driver.session.trips["HttpNfcLeaseProgress"])
            pause(timedelta(seconds=2 * PATIENCE))
            halts.append(driver.session.trips["HttpNfcLeaseProgress"])
        return piece

    with TwinProcess(tmp_path / "twin", networks={}, lease_seconds=PATIENCE) as twin:
        driver = opened(twin.record, tmp_path)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(transfer.Stream, "read", halting)
                published = driver.publish(small(image, "slow"), within(120))
            assert driver.publish(small(image, "slow"), within()) == published
        finally:
            driver.close()
    before, after = halts
    assert after > before
