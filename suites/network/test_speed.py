from statistics import median

import pytest
from interop_fixtures import Capability, Expectations, Guest, Measure

from harness.guest.flows import ask, flood
from harness.guest.nics import address_of
from harness.guest.streams import End

pytestmark = [
    pytest.mark.needs(Capability.PEER_NETWORK),
    pytest.mark.shape(nics=2),
    pytest.mark.quiet,
]


@pytest.mark.check("N14", part="throughput")
def test_streams_fill_the_network_and_all_of_it_arrives(
    guest: Guest, peer: Guest, expect: Expectations, measure: Measure
) -> None:
    """How fast guests send to each other is known, by one stream and by many: none stands still, and no byte is lost.

    Whether that is fast enough, a comparison of two sides says.
    """
    span, rounds = expect.duration("N14.span"), expect.count("N14.rounds")
    for word, sender, receiver in (("sent", guest, peer), ("received", peer, guest)):
        source, target = (End(each, address_of(each.identity.nics[1])) for each in (sender, receiver))
        for streams in (1, expect.count("N14.streams")):
            rates = []
            for _ in range(rounds):
                before = {each: each.nics.by_mac(each.identity.nics[1].mac) for each in (sender, receiver)}
                seen = flood(source, target, streams, span)
                after = {each: each.nics.by_mac(each.identity.nics[1].mac) for each in (sender, receiver)}
                assert len(seen.flows) == streams, f"{streams} streams were asked for, {len(seen.flows)} were made"
                torn = [flow for flow in seen.flows if not flow.whole]
                assert not torn, f"{len(torn)} of {streams} streams from {source} to {target} came to harm: {torn}"
                sent = after[sender].sent.bytes - before[sender].sent.bytes
                came = after[receiver].received.bytes - before[receiver].received.bytes
                assert min(sent, came) >= seen.size, (
                    f"{seen.size} bytes went from {source} to {target}, but not by these NICs: {sent} sent, {came} came"
                )
                rates.append(seen.rate)
            plural = "" if streams == 1 else "s"
            measure(f"{word}_{streams}_stream{plural}", median(rates), unit="B/s", better="higher", samples=rates)


@pytest.mark.check("N14", part="latency")
def test_requests_are_answered_one_by_one(guest: Guest, peer: Guest, expect: Expectations, measure: Measure) -> None:
    """How long a small request takes is known, for most of them and for the slow ones, and each has its answer.

    Whether that is fast enough, a comparison of two sides says.
    """
    source, target = (End(each, address_of(each.identity.nics[1])) for each in (guest, peer))
    count, mac = expect.count("N14.requests"), guest.identity.nics[1].mac
    before = guest.nics.by_mac(mac)
    seen = ask(source, target, count, expect.deadline("N14.within"))
    after = guest.nics.by_mac(mac)
    assert len(seen.seconds) == count, f"{len(seen.seconds)} of {count} requests were answered, then: {seen.broken}"
    packets = min(after.sent.packets - before.sent.packets, after.received.packets - before.received.packets)
    assert packets >= count, f"{count} requests went from {source} to {target}, but not by this NIC: {packets} packets"
    measure("answer_p50", seen.percentile(50), unit="s", better="lower", samples=seen.seconds)
    measure("answer_p99", seen.percentile(99), unit="s", better="lower")
