"""Disks and NICs of a vSphere machine come, change and go, whether it runs or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.model import DeviceKind, DiskSpec, Endpoint, NetworkKind, NetworkSpec
from harness.backends.protocol import Refused
from harness.backends.vsphere import marks, notes
from harness.backends.vsphere.machine import VsphereMachine
from harness.backends.vsphere.refs import Ref
from harness.core import MiB, Size
from tests.unit import vsphere_access
from tests.unit.vsphere_access import OWNER, view, within

host, machine = vsphere_access.host, vsphere_access.machine
SMALL = Size(16 * MiB)


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


def test_the_controller_of_the_system_disk_is_told_from_those_of_others(machine):
    """A paravirtual one that only a data disk is on does not count."""
    assert view(machine).root_controller == "ParaVirtualSCSIController"
    device = vim.vm.device
    found = [
        device.ParaVirtualSCSIController(key=1001, busNumber=1),
        device.VirtualLsiLogicController(key=1000, busNumber=0),
        device.VirtualDisk(key=2001, controllerKey=1001, unitNumber=1),
        device.VirtualDisk(key=2000, controllerKey=1000, unitNumber=0),
    ]
    assert notes.system_controller(found, {"interop.disk.1": "data0"}) == "VirtualLsiLogicController"
    assert notes.system_controller(found[:2], {}) == ""


def test_a_controller_has_room_for_fourteen_data_disks_and_says_so(host, machine):
    for number in range(13):
        machine.attach_disk(DiskSpec(f"more{number}", Size(MiB)), within())
    with pytest.raises(Refused, match="no unit"):
        machine.attach_disk(DiskSpec("one-too-many", Size(MiB)), within())
    assert len(view(machine).disks) == 14


def test_a_disk_with_large_sectors_is_refused_and_none_is_made(host, machine):
    """Up to release 8 there are none; the wish is not dropped."""
    large = DiskSpec("large", SMALL, 4096)
    with pytest.raises(Refused, match="sectors of 512 bytes, not of 4096"):
        machine.attach_disk(large, within())
    assert [(disk.serial, disk.sector) for disk in view(machine).disks] == [("data0", None)]
    with pytest.raises(Refused, match="sectors of 512 bytes, not of 4096"):
        host.create(disks=(large,))


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
