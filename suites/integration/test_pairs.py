import secrets
from collections.abc import Mapping

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.protocol import GuestIgnored, Refused
from harness.core import Pending, wait_for
from harness.guest.kvp import DEVICE
from harness.guest.mailbox import TO_GUEST
from harness.guest.probe import ProbeFailed


@pytest.mark.check("I14")
@pytest.mark.needs(Capability.VMBUS, Capability.EXCHANGE)
@pytest.mark.smoke
def test_the_daemon_of_key_value_pairs_is_healthy(guest: Guest, expect: Expectations) -> None:
    """Programs read what the host tells in files that all may read, kept by one daemon that has the host's ear."""
    daemons, holders = guest.kvp.daemons(expect.words("kvp_daemons")), guest.kvp.holders()
    assert len(daemons) == 1, f"one daemon of {expect.words('kvp_daemons')} is to run; there are {sorted(daemons)}"
    assert holders == tuple(daemons), f"{DEVICE} is open in {list(holders)}, the daemon is {sorted(daemons)}"

    pools = guest.kvp.pools()
    assert set(pools) == set(range(5)), f"pools 0 to 4 are to be there, not {sorted(pools)}"
    modes = {number: f"{pool.mode:o}" for number, pool in pools.items() if pool.mode != 0o644}
    assert not modes, f"pools are to have mode 644; others: {modes}"
    told, limit = pools[3], expect.limit("I14.told")
    assert limit.allows(told.records), (
        f"the host tells {told.records} pairs by itself, not {limit}: {sorted(told.values)}"
    )


@pytest.mark.check("I17")
@pytest.mark.needs(Capability.EXCHANGE)
@pytest.mark.changes_guest
def test_mistakes_with_key_value_pairs_change_nothing(guest: Guest, expect: Expectations) -> None:
    """Who configures guests by key-value pairs is told of every mistake, and all that fits arrives as it was sent."""
    word = f"interop.{secrets.token_hex(4)}"
    key, value = "ä" * expect.count("I17.key"), "é" * expect.count("I17.value")
    many = {f"{word}.{number}": secrets.token_hex(8) for number in range(expect.count("I17.pairs"))}

    def ask(method: str, pairs: Mapping[str, str]) -> None:
        guest.kvp.ask_host(method, pairs, expect.deadline("host.verb"))

    def told() -> Mapping[str, str]:
        pools = guest.kvp.pools()
        return pools[TO_GUEST].values if TO_GUEST in pools else {}

    def holds(wanted: Mapping[str, str]) -> None:
        def same() -> bool | Pending:
            try:
                seen = told()
            except ProbeFailed as error:  # the daemon is just writing it
                return Pending(error.message)
            wrong = sorted(one[:40] for one in {*seen, *wanted} if seen.get(one) != wanted.get(one))
            return True if not wrong else Pending(f"{len(wanted)} told, {len(seen)} there; different: {wrong[:5]}")

        wait_for("the guest to hold just what it was told", same, expect.deadline("I16.seen"), fault=AssertionError)

    kept = {**told(), word: "größer 値 😀"}

    def heard() -> bool | Pending:
        try:
            ask("AddKvpItems", {word: kept[word]})
        except GuestIgnored as error:  # services have hardly begun to listen
            return Pending(error.message)
        return True

    wait_for("the host to take the first pair", heard, expect.deadline("host.verb"), fault=AssertionError)
    holds(kept)
    for what, method, pairs in (
        ("changing a key that is not there", "ModifyKvpItems", {f"{word}.none": "changed"}),
        ("removing a key that is not there", "RemoveKvpItems", {f"{word}.none": ""}),
        ("adding a key that is there", "AddKvpItems", {word: "changed"}),
        ("a key that is too long", "AddKvpItems", {f"{key}ä": "short"}),
        ("a value that is too long", "AddKvpItems", {f"{word}.long": f"{value}é"}),
        ("a pair too many", "AddKvpItems", many | {f"{word}.more": "one"}),
    ):
        try:
            ask(method, pairs)
        except Refused:
            continue
        raise AssertionError(f"{what}: the host took {method} of {len(pairs)} pairs, which it is to refuse")

    # What comes now came after whatever of the mistakes did: nothing is late.
    kept |= {key: value}
    ask("AddKvpItems", {key: value})
    holds(kept)
    ask("AddKvpItems", many)
    holds(kept | many)
    ask("RemoveKvpItems", many)
    holds(kept)
