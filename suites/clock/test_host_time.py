import pytest
from interop_fixtures import Capability, Expectations, Guest, Measure

from harness.core import Pending, wait_for
from harness.guest.chrony import Source
from harness.guest.other_clocks import PtpClock, tools_time


def clock_of_the_host(guest: Guest, expect: Expectations) -> PtpClock:
    """The PTP clock that this hypervisor gives its guests."""
    wanted, clocks = expect.words("ptp_clocks"), guest.ptp.clocks()
    found = [clock for clock in clocks if clock.name in wanted]
    there = ", ".join(map(str, clocks)) or "none"
    assert found, f"expected a PTP clock called {' or '.join(wanted)}; the guest has {there}"
    return found[0]


@pytest.mark.check("T04")
@pytest.mark.needs(Capability.PTP, Capability.HOST_CLOCK)
@pytest.mark.untouched_clock
def test_the_ptp_clock_shows_the_hosts_time(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """A guest can follow its host's clock without any network: a PTP clock is there for it, and shows that time."""
    clock, limit, goal = clock_of_the_host(guest, expect), expect.limit("T04.offset"), expect.limit("T04.goal")
    probes = expect.count("T04.probes")
    told = guest.ptp.beside(clock, probes)
    assert not told.refused, f"the PTP clock {clock} cannot be read: {told.refused}"
    own = guest.clock.offset(probes)
    seen = told.minus_host(own)
    if goal.at_most is not None and seen.uncertainty >= goal.at_most:
        pytest.skip(f"the PTP clock can only be told to ± {seen.uncertainty:.4f} s here, and the limit is {goal}")
    measure("ptp_offset", abs(seen.seconds), unit="s", better="lower")
    for allowed in (limit, goal):
        assert allowed.allows(abs(seen.seconds)), (
            f"the PTP clock {clock} minus the host's clock is {seen}, not {allowed}; "
            f"against the guest's clock it is {told}, which minus the host's is {own}"
        )


@pytest.mark.check("T05")
@pytest.mark.needs(Capability.PTP)
@pytest.mark.changes_guest
def test_chrony_follows_the_ptp_clock(guest: Guest, expect: Expectations) -> None:
    """A guest without any network source is kept right by its host's PTP clock, once chrony is told of it."""
    clock, settings = clock_of_the_host(guest, expect), expect.word("T05.refclock")
    guest.chrony.follow(f"PHC {clock.device} {settings}")

    def followed() -> Source | Pending:
        sources = guest.chrony.sources()
        best = next((source for source in sources if source.followed), None)
        return best or Pending("; ".join(map(str, sources)) or "no source")

    what = f"chrony to follow {clock}, which answers all of its last eight polls"
    source = wait_for(what, followed, expect.deadline("T05.followed"), every=1, fault=AssertionError)
    network = [str(one) for one in guest.chrony.sources() if one.from_network]
    assert not network, f"chrony follows {source}, and has sources by network: {network}"
    tracking = guest.chrony.tracking()
    assert (tracking.source, tracking.leap) == (source.name, "Normal"), f"chrony follows {source}, and says {tracking}"


@pytest.mark.check("T18")
@pytest.mark.needs(Capability.HOST_CLOCK)
def test_the_tools_tell_the_hosts_time(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """Who asks the tools in a guest what time it is on the host is told so, neither earlier nor later."""
    limit, told = expect.limit("T18.offset"), tools_time(guest)
    assert not told.refused, f"the tools do not tell the host's time: {told.refused}"
    own = guest.clock.offset(expect.count("T18.probes"))
    seen = told.minus_host(own)
    if limit.at_most is not None and seen.uncertainty >= limit.at_most:
        pytest.skip(f"what the tools tell is only known to ± {seen.uncertainty:.2f} s here, and the limit is {limit}")
    measure("tools_time_offset", abs(seen.seconds), unit="s", better="lower")
    assert limit.allows(abs(seen.seconds)), (
        f"the time that the tools tell minus the host's clock is {seen}, not {limit}; "
        f"against the guest's clock it is {told}, which minus the host's is {own}"
    )
