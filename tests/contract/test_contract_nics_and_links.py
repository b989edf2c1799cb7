"""NICs, by their MAC address, and their cables: asked, shown by the host, seen by the guest."""

from __future__ import annotations

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import DeviceKind
from harness.core import Pending, wait_for


def find_nic(guest, mac, deadline):
    """The guest's NIC of this MAC, once it shows."""

    def shown():
        found = {nic.mac: nic for nic in guest.nics.all().values()}
        return found.get(mac) or Pending(f"{sorted(found)}")

    return wait_for(f"a NIC {mac} in {guest.name}", shown, deadline, fault=AssertionError)


def macs(guest):
    """All MAC addresses that the guest shows."""
    return {nic.mac for nic in guest.nics.all().values()}


@pytest.fixture
def spec(site):
    """A NIC to plug in, on the network where guests meet."""
    leases = []
    yield site.nic(site.name("nic"), 1, leases)
    for lease in leases:
        lease.release()


def test_nics_are_those_that_were_asked_for(site, guest):
    """By MAC, and connected, for host and guest."""
    asked = {nic.mac: nic.network.name for nic in guest.machine.spec.nics}
    view = site.view(guest.machine).nics
    assert {nic.mac: nic.network for nic in view} == asked
    assert all(nic.connected for nic in view)
    assert macs(guest) == set(asked)


def test_the_guest_is_reached_where_the_host_says(site, guest):
    """What answers there is this guest: its host key was checked, and its machine id is the seed's."""
    endpoint = guest.machine.endpoint(site.deadline())
    assert 1 <= endpoint.port <= 65535
    asked = guest.machine.spec.nics[0].forward
    assert asked is None or endpoint == asked
    assert guest.system.machine_id() == guest.identity.machine_id


def test_the_endpoint_needs_no_integration_services(site, guest):
    """It is known while the service that could tell it is stopped."""
    guest.run(["systemctl", "stop", site.service])
    try:
        endpoint = guest.machine.endpoint(site.deadline())
        guest.disconnect()
        assert guest.run(["true"]).ok
        assert guest.machine.endpoint(site.deadline()) == endpoint
    finally:
        guest.run(["systemctl", "start", site.service])


@pytest.mark.proves(Capability.LINK_STATE)
def test_a_pulled_cable_is_seen_by_the_guest(site, guest):
    """And plugging it in again; the host shows both."""
    mac = guest.machine.spec.nics[1].mac
    guest.nics.set_up(mac, True)
    guest.nics.wait_carrier(mac, True, site.deadline(60))
    guest.machine.link(mac, False, site.deadline())
    assert {nic.mac: nic.connected for nic in site.view(guest.machine).nics}[mac] is False
    guest.nics.wait_carrier(mac, False, site.deadline(60))
    guest.machine.link(mac, True, site.deadline())
    assert {nic.mac: nic.connected for nic in site.view(guest.machine).nics}[mac] is True
    guest.nics.wait_carrier(mac, True, site.deadline(60))


@pytest.mark.proves(Capability.LINK_STATE)
def test_pulling_a_pulled_cable_is_no_error(site, guest):
    """Asked twice, done once."""
    mac = guest.machine.spec.nics[1].mac
    for up in (False, False, True, True):
        guest.machine.link(mac, up, site.deadline())
    guest.nics.wait_carrier(mac, True, site.deadline(60))


@pytest.mark.proves(Capability.LINK_STATE)
def test_without_its_cable_the_first_nic_does_not_let_ssh_through(site, guest):
    """The guest is reached again once it is back: the connection was cut, not the guest."""
    from harness.guest import Unreachable

    mac = guest.machine.spec.nics[0].mac
    boot = guest.boot_id
    guest.disconnect()
    guest.machine.link(mac, False, site.deadline())
    try:
        with pytest.raises(Unreachable):
            guest.ssh.connect(site.deadline(4), retry=False)
    finally:
        guest.machine.link(mac, True, site.deadline())
    assert guest.wait_ready(site.deadline()) == boot


@pytest.mark.proves(Capability.NIC_HOT_ADD)
def test_a_nic_comes_and_goes_while_the_guest_runs(site, guest, spec):
    """The guest has it when it came, and no more when the verb returns."""
    before = macs(guest)
    guest.machine.attach_nic(spec, site.deadline())
    assert spec.mac in {nic.mac for nic in site.view(guest.machine).nics}
    find_nic(guest, spec.mac, site.deadline(60))
    assert macs(guest) == before | {spec.mac}
    guest.machine.detach_nic(spec.mac, site.deadline())
    assert spec.mac not in {nic.mac for nic in site.view(guest.machine).nics}
    assert macs(guest) == before


@pytest.mark.proves(Capability.NIC_HOT_ADD)
def test_a_nic_comes_to_a_machine_that_is_off(site, machine, spec):
    """And goes again."""
    before = {nic.mac for nic in site.view(machine).nics}
    machine.attach_nic(spec, site.deadline())
    assert {nic.mac for nic in site.view(machine).nics} == before | {spec.mac}
    machine.detach_nic(spec.mac, site.deadline())
    assert {nic.mac for nic in site.view(machine).nics} == before


@pytest.mark.proves(Capability.NIC_HOT_ADD)
def test_a_nic_can_come_with_its_cable_out(site, guest, spec):
    """There is no carrier until it is plugged in."""
    from dataclasses import replace

    guest.machine.attach_nic(replace(spec, connected=False), site.deadline())
    try:
        assert {nic.mac: nic.connected for nic in site.view(guest.machine).nics}[spec.mac] is False
        find_nic(guest, spec.mac, site.deadline(60))
        guest.nics.set_up(spec.mac, True)
        guest.nics.wait_carrier(spec.mac, False, site.deadline(60))
    finally:
        guest.machine.detach_nic(spec.mac, site.deadline())


@pytest.mark.proves(Capability.LEGACY_NIC, Capability.NIC_HOT_ADD)
def test_an_emulated_nic_is_another_device_than_a_synthetic_one(site, guest, spec):
    """The guest binds another driver, the host names another model."""
    from dataclasses import replace

    first = guest.machine.spec.nics[0].mac
    guest.machine.attach_nic(replace(spec, kind=DeviceKind.EMULATED), site.deadline())
    try:
        models = {nic.mac: nic.model for nic in site.view(guest.machine).nics}
        assert models[spec.mac] != models[first]
        nic = find_nic(guest, spec.mac, site.deadline(60))
        assert nic.driver is not None
        assert nic.driver != guest.nics.by_mac(first).driver
    finally:
        guest.machine.detach_nic(spec.mac, site.deadline())
