"""Checkpoints of a vSphere machine: their names, their order, and the state they fit."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.protocol import GuestIgnored, Refused, WrongState
from harness.backends.vsphere import tasks
from harness.backends.vsphere.checkpoints import snapshot_files
from harness.backends.vsphere.refs import Ref
from tests.unit import vsphere_access
from tests.unit.vsphere_access import within

host, machine = vsphere_access.host, vsphere_access.machine


def test_checkpoints_are_listed_oldest_first_and_dropped_by_name(machine):
    for name in ("one", "two", "three"):
        machine.checkpoint(name, within(), memory=False)
    machine.drop_checkpoint("two", within())
    machine.drop_checkpoint("two", within())
    assert machine.checkpoints(within()) == ("one", "three")
    machine.revert("one", within())
    machine.checkpoint("four", within(), memory=False)
    assert machine.checkpoints(within()) == ("one", "three", "four")


def test_what_checkpoints_consist_of_goes_with_them(machine):
    before = machine.checkpoint_files(within())
    for name in ("one", "two", "three"):
        machine.checkpoint(name, within(), memory=False)
    assert len(machine.checkpoint_files(within())) == len(before) + 3
    for name in ("three", "one", "two"):
        machine.drop_checkpoint(name, within())
    assert machine.checkpoint_files(within()) == before


def test_deltas_count_whether_they_are_in_the_chain_or_wait_for_consolidation():
    kinds = {
        "[ds] m/m.vmdk": "diskDescriptor",
        "[ds] m/m-000002.vmdk": "diskDescriptor",
        "[ds] m/m-000002-sesparse.vmdk": "diskExtent",
        "[ds] m/m.vmsd": "snapshotList",
        "[ds] m/m.vswp": "swap",
    }
    files = [vim.vm.FileLayoutEx.FileInfo(key=0, name=name, type=kind) for name, kind in kinds.items()]
    taken = vim.vm.FileLayoutEx.SnapshotLayout(key=vim.vm.Snapshot("snapshot-7", None), dataKey=1)
    layout = vim.vm.FileLayoutEx(file=files, snapshot=[taken])
    found = ("[ds] m/m-000002.vmdk", "data of snapshot-7")
    assert snapshot_files(layout, unmerged=False) == found
    assert snapshot_files(layout, unmerged=True) == (*found, "delta disks that wait for consolidation")


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


def test_a_guest_without_tools_is_not_taken_for_a_quiet_one(machine):
    """The host would take the checkpoint all the same, and say nothing."""
    with pytest.raises(WrongState):
        machine.quiesced_checkpoint("still", within())
    machine.start(within())
    with pytest.raises(GuestIgnored, match=r"the tools of .* to run"):
        machine.quiesced_checkpoint("still", within(1))
    assert machine.checkpoints(within()) == ()


def test_tools_that_come_up_a_moment_after_the_guest_are_waited_for(host, machine):
    """They tell the host that they run only when it asks them again."""
    machine.start(within())
    # vcsim sets any property of a machine by a key of its ExtraConfig.
    up = vim.option.OptionValue(key="SET.guest.toolsRunningStatus", value="guestToolsRunning")
    spec, ref = vim.vm.ConfigSpec(extraConfig=[up]), Ref("VirtualMachine", machine.id)
    later = threading.Timer(0.5, tasks.run, (host.session, "tell", ref, "ReconfigVM_Task", within(), spec))
    later.start()
    try:
        machine.quiesced_checkpoint("still", within())
    finally:
        later.join()
    assert machine.checkpoints(within()) == ("still",)
