"""What a guest's VMware tools tell and take, and what is said of a guest without them."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored, Refused
from harness.backends.vsphere.machine import VsphereMachine
from tests.unit import vsphere_access
from tests.unit.vsphere_access import view, within

host, machine, running = vsphere_access.host, vsphere_access.machine, vsphere_access.running
OFF, RUNNING = PowerState.OFF, PowerState.RUNNING


def test_a_guest_without_tools_ignores_what_it_is_asked(running):
    """The host passes it on to tools alone."""
    with pytest.raises(GuestIgnored):
        running.reboot(within(1))
    with pytest.raises(GuestIgnored):
        running.exchange("guestinfo.hostname", within())
    assert view(running).state is RUNNING


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


def timesync(machine):
    """Whether the host calls it switched on."""
    (found,) = [service for service in machine.services(within()) if service.name == "timesync"]
    return found.enabled


def test_time_synchronisation_is_switched_whether_the_machine_runs_or_not(host, machine):
    """It is off in a machine that nobody asked for it."""
    for _ in range(2):
        assert timesync(machine) is False
        machine.toggle("timesync", True, within())
        assert host.raw(machine, "config.tools")["config.tools"].syncTimeWithHost is True
        assert timesync(machine) is True
        machine.toggle("timesync", False, within())
        if view(machine).state is OFF:
            machine.start(within())


def test_what_has_no_switch_is_refused(machine):
    with pytest.raises(Refused, match="no switch for 'heartbeat'"):
        machine.toggle("heartbeat", False, within())
