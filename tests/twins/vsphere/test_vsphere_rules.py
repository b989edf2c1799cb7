"""What real hosts refuse, the twin refuses: else a driver's mistakes would go unseen."""

from __future__ import annotations

import pytest
from pyVmomi import vim, vmodl

from tests.twins.vsphere.client import Client, Failed, added, cd, edited, nic, of, removed


def refused(client: Client, kind: type, machine: object, *changes: object, **more: object) -> None:
    with pytest.raises(Failed) as failed:
        client.reconfigure(machine, *changes, **more)
    assert isinstance(failed.value.fault, kind), failed.value


def test_names_are_unique_in_a_folder(client: Client) -> None:
    client.create("twice")
    with pytest.raises(Failed) as failed:
        client.create("twice")
    assert isinstance(failed.value.fault, vim.fault.DuplicateName)


def test_a_machine_is_renamed_to_a_free_name_alone(client: Client) -> None:
    machine = client.create("before")
    client.create("taken")
    with pytest.raises(Failed) as failed:
        client.done(machine.Rename_Task("taken"))
    assert isinstance(failed.value.fault, vim.fault.DuplicateName)
    client.done(machine.Rename_Task("after"))
    assert (machine.name, machine.config.name, machine.summary.config.name) == ("after", "after", "after")


def test_a_failed_creation_leaves_no_folder(client: Client) -> None:
    before = set(client.folders())
    with pytest.raises(Failed):
        client.create("nowhere", nics=("no such network",))
    assert set(client.folders()) == before


def test_vcpus_are_added_only_where_hot_add_is_enabled(client: Client) -> None:
    machine = client.create("cold", disks=(16,))
    client.done(machine.PowerOnVM_Task())
    refused(client, vim.fault.CpuHotPlugNotSupported, machine, numCPUs=2)
    refused(client, vim.fault.MemoryHotPlugNotSupported, machine, memoryMB=512)
    assert machine.config.hardware.numCPU == 1


def test_vcpus_and_memory_are_added_up_to_the_hosts_maximum_and_never_removed(client: Client) -> None:
    machine = client.create("hot", disks=(16,), cpuHotAddEnabled=True, memoryHotAddEnabled=True)
    client.done(machine.PowerOnVM_Task())
    client.reconfigure(machine, numCPUs=4)
    client.reconfigure(machine, memoryMB=256)
    assert (machine.config.hardware.numCPU, machine.config.hardware.memoryMB) == (4, 256)
    assert (machine.summary.config.numCpu, machine.summary.config.memorySizeMB) == (4, 256)
    refused(client, vim.fault.NumVirtualCpusExceedsLimit, machine, numCPUs=64)
    refused(client, vim.fault.CpuHotPlugNotSupported, machine, numCPUs=2)


def test_some_things_wait_until_the_machine_is_off(client: Client) -> None:
    machine = client.create("frozen", disks=(16,), numCPUs=2)
    client.done(machine.PowerOnVM_Task())
    for change in ({"numCoresPerSocket": 2}, {"firmware": "efi"}, {"cpuHotAddEnabled": True}):
        refused(client, vim.fault.InvalidPowerState, machine, **change)


def test_sockets_are_whole(client: Client) -> None:
    machine = client.create("sockets", numCPUs=2)
    refused(client, vim.fault.InvalidVmConfig, machine, numCPUs=3, numCoresPerSocket=2)
    assert machine.config.hardware.numCPU == 2


def test_a_network_that_is_not_there_is_refused(client: Client) -> None:
    machine = client.create("network")
    refused(client, vim.fault.InvalidDeviceBacking, machine, added(nic("no such network")))
    assert not of(machine, vim.vm.device.VirtualEthernetCard)


def test_an_iso_that_is_not_there_is_refused(client: Client) -> None:
    machine = client.create("iso")
    refused(client, vim.fault.FileNotFound, machine, added(cd(f"[{client.store}] none.iso")))


def test_an_iso_that_went_away_is_missed_at_power_on(client: Client) -> None:
    client.web.put(client.file("seed.iso"), data=b"iso").raise_for_status()
    machine = client.create("seed", devices=[cd(f"[{client.store}] seed.iso")])
    manager = client.content.fileManager
    client.done(manager.DeleteDatastoreFile_Task(f"[{client.store}] seed.iso", client.datacenter))
    with pytest.raises(Failed) as failed:
        client.done(machine.PowerOnVM_Task())
    assert isinstance(failed.value.fault, vim.fault.FileNotFound)


@pytest.mark.parametrize("key", ["SET.guest.ipAddress", "SET.no.such.path", "RUN.container", "ip0"])
def test_the_simulators_own_keys_are_not_for_clients(client: Client, key: str) -> None:
    machine = client.create("keys")
    option = vim.option.OptionValue(key=key, value="10.0.0.1")
    refused(client, vmodl.fault.InvalidArgument, machine, extraConfig=[option])
    with pytest.raises(Failed):
        client.create("born with keys", extraConfig=[option])


def test_plain_keys_are_kept_and_removed(client: Client) -> None:
    machine = client.create("plain")
    client.reconfigure(machine, extraConfig=[vim.option.OptionValue(key="guestinfo.question", value="42")])
    assert {option.key: option.value for option in machine.config.extraConfig}["guestinfo.question"] == "42"
    client.reconfigure(machine, extraConfig=[vim.option.OptionValue(key="guestinfo.question", value="")])
    assert "guestinfo.question" not in {option.key for option in machine.config.extraConfig}


def test_nics_come_go_and_lose_their_cable_while_the_machine_runs(client: Client) -> None:
    machine = client.create("nics", disks=(16,), nics=("VM Network",))
    client.done(machine.PowerOnVM_Task())
    client.reconfigure(machine, added(nic("peers", 1)))
    first, second = of(machine, vim.vm.device.VirtualEthernetCard)
    assert second.connectable.connected
    first.connectable.connected = False
    client.reconfigure(machine, edited(first))
    states = {each.macAddress: each.connectable.connected for each in of(machine, vim.vm.device.VirtualEthernetCard)}
    assert states == {first.macAddress: False, second.macAddress: True}
    client.done(machine.PowerOffVM_Task())
    client.reconfigure(machine, removed(second))
    assert [each.macAddress for each in of(machine, vim.vm.device.VirtualEthernetCard)] == [first.macAddress]


def test_a_disk_unit_is_taken_once(client: Client) -> None:
    from tests.twins.vsphere.client import disk

    machine = client.create("units", disks=(16,))
    (controller,) = of(machine, vim.vm.device.ParaVirtualSCSIController)
    again = vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk(0, 8, controller.key))
    refused(client, vim.fault.InvalidDeviceSpec, machine, again)
    assert len(of(machine, vim.vm.device.VirtualDisk)) == 1


def test_tools_that_do_not_run_answer_nothing(client: Client) -> None:
    machine = client.create("silent", disks=(16,))
    client.done(machine.PowerOnVM_Task())
    assert machine.guest.toolsRunningStatus == "guestToolsNotRunning"
    assert machine.guestHeartbeatStatus == "gray"
    for ask in (machine.ShutdownGuest, machine.RebootGuest, machine.StandbyGuest):
        with pytest.raises(vim.fault.ToolsUnavailable):
            ask()
