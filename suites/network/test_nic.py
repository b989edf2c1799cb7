from ipaddress import ip_interface

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import DeviceKind
from harness.core import Pending, wait_for
from harness.guest.nics import LINKS, nics
from harness.guest.result import Result
from harness.measure.views import Views

Address = tuple[str, str]
"""A MAC and an address of that NIC."""


@pytest.mark.check("N01")
@pytest.mark.smoke
def test_the_nic_is_the_hypervisors_own_and_carries_packets(guest: Guest, expect: Expectations) -> None:
    """The guest's NIC is the synthetic one that was asked for, with its MAC, and packets pass both ways."""
    is_and_carries(guest, expect.words("nic_drivers"), expect)


@pytest.mark.check("N18", part="nic")
@pytest.mark.needs(Capability.LEGACY_NIC)
@pytest.mark.shape(nics=2, nic_kind=DeviceKind.EMULATED)
def test_an_emulated_nic_is_what_it_imitates_and_carries_packets(guest: Guest, expect: Expectations) -> None:
    """A guest that has no driver for the hypervisor's own NIC gets one of real hardware, and it is as good as any."""
    is_and_carries(guest, expect.words("emulated_nic_drivers"), expect)


@pytest.mark.check("N08")
@pytest.mark.needs(Capability.CONSOLE_INPUT)
@pytest.mark.changes_guest
def test_an_interface_that_went_down_comes_back(guest: Guest, expect: Expectations) -> None:
    """An administrator at the console can switch off the guest's only way in, and on again: all is as it was."""
    mac, rounds = guest.identity.nics[0].mac, expect.count("N08.rounds")
    before = guest.nics.by_mac(mac)

    def at_console(*argv: str) -> Result:
        return guest.console.run(argv, timeout=expect.duration("N08.console"))

    def back() -> bool | Pending:
        links = LINKS.value(at_console(*LINKS.argv, "show", "dev", before.name), guest.name)
        now = nics(links, {before.name: before.driver})[mac]
        same = now.carrier and set(now.addresses) == set(before.addresses)
        return True if same else Pending(f"carrier {now.carrier}, addresses {now.addresses}")

    for number in range(1, rounds + 1):
        guest.disconnect()
        at_console("ip", "link", "set", "dev", before.name, "down")
        state = at_console("cat", f"/sys/class/net/{before.name}/operstate").text.strip()
        assert state == "down", f"round {number} of {rounds}: {before.name} was switched off, and is {state}"
        deadline = expect.deadline("N08.back")
        at_console("ip", "link", "set", "dev", before.name, "up")
        wait_for(
            f"{before.name} to have {before.addresses} in round {number} of {rounds}",
            back,
            deadline,
            fault=AssertionError,
        )
        guest.wait_back(expect.deadline("guest.back"))


@pytest.mark.check("N15")
@pytest.mark.needs(Capability.HEARTBEAT)
@pytest.mark.shape(nics=2)
@pytest.mark.changes_guest
def test_the_host_knows_every_address(guest: Guest, expect: Expectations) -> None:
    """An operator finds a guest by what its host shows: each of its addresses on its NIC, also one that came later."""
    asked = {(nic.mac, str(ip_interface(nic.address).ip)) for nic in guest.identity.nics if nic.address}

    def agree() -> set[Address] | Pending:
        host = {(seen.mac, seen.address) for seen in guest.machine.addresses(expect.deadline("host.verb"))}
        views = Views("addresses", asked=asked, host=host, guest=addresses(guest))
        return views.guest if views.host == views.guest and views.asked <= views.guest else Pending(str(views))

    wait_for("host and guest to agree", agree, expect.deadline("N15.seen"), fault=AssertionError)
    later = ip_interface(expect.word("N15.later"))
    guest.nics.set_address(guest.identity.nics[1].mac, later)
    asked.add((guest.identity.nics[1].mac, str(later.ip)))
    wait_for("the host to learn of an address", agree, expect.deadline("N15.seen"), fault=AssertionError)


def addresses(guest: Guest) -> set[Address]:
    """What the guest itself says."""
    return {(nic.mac, str(address.ip)) for nic in guest.nics.all().values() for address in nic.addresses}


def is_and_carries(guest: Guest, drivers: tuple[str, ...], expect: Expectations) -> None:
    """The NICs are those that were asked for, with one of these drivers, and the first has packets both ways."""
    host = guest.machine.view(expect.deadline("host.verb"))
    before = guest.nics.all()
    views = Views(
        "MACs",
        asked={nic.mac for nic in guest.identity.nics},
        host={nic.mac for nic in host.nics},
        guest=set(before),
    )
    assert views.agree, views
    for nic in before.values():
        assert nic.driver in drivers, f"{nic.name} is driven by {nic.driver}, not by one of {drivers}"

    mac = guest.identity.nics[0].mac

    def moved() -> bool | Pending:
        now, then = guest.nics.by_mac(mac), before[mac]
        received, sent = now.received.packets - then.received.packets, now.sent.packets - then.sent.packets
        return True if received > 0 and sent > 0 else Pending(f"{received} packets received, {sent} sent")

    wait_for(f"packets both ways on {mac}", moved, expect.deadline("N01.moved"), fault=AssertionError)
