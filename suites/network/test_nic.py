import pytest
from interop_fixtures import Expectations, Guest

from harness.core import Pending, wait_for
from harness.measure.views import Views


@pytest.mark.check("N01")
@pytest.mark.smoke
def test_the_nic_is_the_hypervisors_own_and_carries_packets(guest: Guest, expect: Expectations) -> None:
    """The guest's NIC is the synthetic one that was asked for, with its MAC, and packets pass both ways."""
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
        assert nic.driver in expect.words("nic_drivers"), (
            f"{nic.name} is driven by {nic.driver}, not by one of {expect.words('nic_drivers')}"
        )

    mac = guest.identity.nics[0].mac

    def moved() -> bool | Pending:
        now, then = guest.nics.by_mac(mac), before[mac]
        received, sent = now.received.packets - then.received.packets, now.sent.packets - then.sent.packets
        return True if received > 0 and sent > 0 else Pending(f"{received} packets received, {sent} sent")

    wait_for(f"packets both ways on {mac}", moved, expect.deadline("N01.moved"), fault=AssertionError)
