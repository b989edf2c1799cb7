"""Addresses are leased, follow from their key, and are looked for before they are lent."""

import socket
from pathlib import Path

import pytest

from harness.backends.model import NetworkKind
from harness.core import Deadline, LabError
from harness.lab import Lab, Network, Run
from harness.lab.addresses import can_bind, default_macs, mac_in_use
from harness.lab.fields import AddressRange, MacRange
from harness.lab.liveness import Liveness
from harness.lab.models import Limits
from harness.lab.store import open_store

PEERS = Network.model_validate_json('{"kind": "switch", "subnet": "10.77.0.0/29"}')
USER = Network(kind=NetworkKind.USER)
DHCP = Network(kind=NetworkKind.BRIDGE, source="br0", dhcp=True)
ARP = """\
IP address       HW type     Flags       HW address            Mask     Device
192.0.2.10       0x1         0x2         52:54:00:AA:BB:CC     *        br0
192.0.2.11       0x1         0x0         00:00:00:00:00:00     *        br0
"""


@pytest.fixture
def run(tmp_path):
    lab = Lab("lab", Path("/nowhere/lab.yaml"), {}, {}, Limits())
    with Run.begin(lab, store=open_store(tmp_path), liveness=Liveness(tmp_path / "runs")) as run:
        yield run


def now() -> Deadline:
    return Deadline.after(0)


def test_no_address_is_lent_twice(run):
    leases = [run.addresses.ip(PEERS, f"slot-{number}", now()) for number in range(5)]
    assert {lease.value for lease in leases} == {f"10.77.0.{number}" for number in range(2, 7)}
    with pytest.raises(LabError, match="5 of 5 leased"):
        run.addresses.ip(PEERS, "slot-6", now())


def test_the_same_key_gets_the_same_address_while_it_is_free(run):
    first = run.addresses.ip(PEERS, "slot-1", now())
    first.release()
    assert run.addresses.ip(PEERS, "slot-1", now()).value == first.value


def test_a_checkpoint_s_own_address_is_lent_or_nothing(run):
    run.addresses.ip(PEERS, "slot-1", now(), wanted="10.77.0.5")
    with pytest.raises(LabError, match="1 of 1 leased"):
        run.addresses.ip(PEERS, "slot-2", now(), wanted="10.77.0.5")


def test_guests_on_networks_of_their_own_have_the_same_address(run):
    one, two = (run.addresses.ip(USER, key, now()) for key in ("slot-1", "slot-2"))
    assert one.value == two.value == "10.0.2.15"


def test_where_dhcp_gives_addresses_none_is_leased(run):
    assert run.addresses.ip(DHCP, "slot-1", now()) is None


def test_an_address_that_answers_is_passed_over(run):
    """On a network that others use too, somebody may have taken it without asking."""
    network = Network.model_validate_json(
        '{"kind": "bridge", "source": "lo", "subnet": "127.77.254.0/24", "addresses": "127.77.254.1-127.77.254.1"}'
    )
    with pytest.raises(LabError, match=r"in use without a lease: 127\.77\.254\.1 \(refuses port 22\)|answers on port"):
        run.addresses.ip(network, "slot-1", now())


def test_the_arp_table_tells_of_silent_neighbours(tmp_path):
    table = tmp_path / "arp"
    table.write_text(ARP)
    assert mac_in_use("52:54:00:aa:bb:cc", table) == "52:54:00:aa:bb:cc (is 192.0.2.10 in the ARP table)"
    assert mac_in_use("00:00:00:00:00:00", table) is None
    assert mac_in_use("52:54:00:aa:bb:cc", tmp_path / "none") is None


def test_macs_are_unicast_locally_administered_and_unique(run):
    macs = {run.addresses.mac("peers", PEERS, f"slot-{number}", now()).value for number in range(20)}
    assert len(macs) == 20
    assert all(int(mac[:2], 16) & 0b11 == 0b10 for mac in macs)


def test_networks_have_ranges_of_their_own():
    assert default_macs("peers") != default_macs("management")
    assert len(default_macs("peers")) == 65536


def test_a_lab_s_own_mac_range_is_kept_to(run):
    network = PEERS.model_copy(update={"macs": MacRange.parse("52:54:00:77:00:00-52:54:00:77:00:01")})
    macs = {run.addresses.mac("peers", network, key, now()).value for key in "ab"}
    assert macs == {"52:54:00:77:00:00", "52:54:00:77:00:01"}
    with pytest.raises(LabError, match="2 of 2 leased"):
        run.addresses.mac("peers", network, "c", now())


def test_macs_are_those_that_the_hypervisor_accepts(run):
    within = "00:50:56:00:00:00-00:50:56:3f:ff:ff"
    macs = {run.addresses.mac("peers", PEERS, f"slot-{number}", now(), within=within).value for number in range(20)}
    assert len(macs) == 20
    assert all(mac in MacRange.parse(within) for mac in macs)
    assert len(default_macs("peers", within)) == 65536
    assert len(default_macs("peers", "00:50:56:00:00:00-00:50:56:00:00:ff")) == 256


def test_a_lab_s_own_mac_range_comes_before_the_hypervisor_s(run):
    network = PEERS.model_copy(update={"macs": MacRange.parse("52:54:00:77")})
    mac = run.addresses.mac("peers", network, "a", now(), within="00:50:56:00:00:00-00:50:56:3f:ff:ff")
    assert mac.value.startswith("52:54:00:77")


def test_an_address_whose_place_outside_is_listened_at_is_passed_over(run):
    """Nobody is asked inside: that network is in no reach of the controller."""
    with socket.create_server(("127.78.254.3", 0)) as server:
        text = (
            '{"kind": "network", "source": "x", "subnet": "10.78.254.0/29", "addresses": "10.78.254.3-10.78.254.4",'
            f' "nat": "127.78.254.0/29", "ssh_port": {server.getsockname()[1]}}}'
        )
        network = Network.model_validate_json(text)
        assert run.addresses.ip(network, "slot-1", now()).value == "10.78.254.4"
        with pytest.raises(LabError, match=r"10\.78\.254\.3 \(something listens at 127\.78\.254\.3:\d+\)"):
            run.addresses.ip(network, "slot-2", now())


def test_on_a_twin_s_networks_nobody_is_looked_for(run, monkeypatch):
    """Nobody but our guests can be there, and asking would leave this machine."""
    monkeypatch.setattr("harness.lab.addresses.in_use", lambda address: f"{address} was asked")
    network = Network.model_validate_json('{"kind": "network", "source": "peers", "subnet": "10.79.0.0/24"}')
    with pytest.raises(LabError, match="was asked"):
        run.addresses.ip(network, "slot-1", now())
    assert run.addresses.ip(network, "slot-1", now(), closed=True).value.startswith("10.79.0.")


def test_a_forward_is_a_loopback_address_that_can_be_bound(run):
    _, endpoint = run.addresses.forward("slot-1", now())
    assert endpoint.address.startswith("127.77.")
    with socket.create_server((endpoint.address, endpoint.port)):
        assert not can_bind(endpoint.address, endpoint.port)


def test_a_forward_s_port_that_is_taken_is_passed_over(run):
    lease, endpoint = run.addresses.forward("slot-1", now())
    lease.release()
    with socket.create_server((endpoint.address, endpoint.port)):
        again, other = run.addresses.forward("slot-1", now())
    assert (other.address, other.port) != (endpoint.address, endpoint.port)
    assert again.value == other.address


def test_two_runs_never_share_a_forward(run):
    endpoints = {str(run.addresses.forward("the same key", now())[1].address) for _ in range(5)}
    assert len(endpoints) == 5


@pytest.mark.parametrize("text", ["10.0.0.9-10.0.0.1", "10.0.0", "10.0.0.1-", "ten", 7, "10.0.0.1/24"])
def test_what_is_no_address_range_is_refused(text):
    with pytest.raises(ValueError, match=r"address range|backwards"):
        AddressRange.parse(text)


@pytest.mark.parametrize(
    "text", ["52:54:0", "52-54-00", "525400", "52:54:00:00:00:02-52:54:00:00:00:01", "00:50:56:40", "zz", 5]
)
def test_what_is_no_mac_range_is_refused(text):
    with pytest.raises(ValueError, match=r"MAC|such as|backwards|manufacturer"):
        MacRange.parse(text)


def test_vmware_s_range_for_chosen_addresses_is_allowed():
    assert len(MacRange.parse("00:50:56:00")) == 65536
