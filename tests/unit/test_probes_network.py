"""What passes between guests: the programs at both ends, run here, and what is made of their words."""

import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core import Deadline, GuestError, Size
from harness.guest import inside, streams
from harness.guest.nics import address_of
from harness.guest.pinging import pinging
from harness.guest.pings import Pings
from harness.guest.probe import Probe
from harness.guest.result import Result
from harness.guest.streams import Data, End, Held, Sent


class Here:
    """A guest that is this very machine."""

    name = "here"

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout: timedelta = timedelta(minutes=1)) -> Result:
        words = [sys.executable if word == "python3" else word for word in argv]
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout.total_seconds(), check=False)
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr).checked(self.name)


def end(address: str) -> End:
    return End(Here(), address)  # type: ignore[arg-type]


def soon() -> Deadline:
    return Deadline.after(20)


def test_what_is_sent_is_hashed_at_both_ends() -> None:
    """Neither side takes the other's word: each hashes what it had in hand."""
    done = streams.send(end("127.0.0.1"), end("127.0.0.2"), Size(300_001), soon())
    assert done.sent == done.received
    assert done.sent.size == 300_001
    assert done.sent.sha256 != hashlib.sha256(bytes(300_001)).hexdigest()


def test_nobody_who_listens_is_a_finding() -> None:
    """A connection that cannot be made is the network's fault, not the guest's."""
    program = inside.program("tcp")
    argv = ["python3", "-", "send", "127.0.0.1", "127.0.0.2", "1", "10", "5"]
    said = streams.parse_sent(Here().run(argv, stdin=program).stdout)
    assert isinstance(said, str)
    assert "refused" in said


def test_a_difference_on_the_way_is_kept() -> None:
    """What the sides say is not made equal."""
    sides = {"sent": {"size": 2, "sha256": "aa"}, "received": {"size": 1, "sha256": "bb"}}
    assert streams.parse_sent(json.dumps(sides).encode()) == Sent(Data(Size(2), "aa"), Data(Size(1), "bb"))


@pytest.fixture
def held() -> Iterator[Held]:
    """A connection to who sends everything back."""
    held = Held(end("127.0.0.1"), end("127.0.0.2"))
    yield held
    held.close()


def test_a_connection_that_cannot_be_held_is_a_finding() -> None:
    """As one that cannot be made to send: a port was told, and nobody listens there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.4", 0))
        port = json.dumps({"port": bound.getsockname()[1]}).encode()
        there = SimpleNamespace(name="there", run=lambda argv, **_: Result(tuple(argv), 0, port, b""))
        with pytest.raises(AssertionError, match=r"from here \(127\.0\.0\.1\) to there \(127\.0\.0\.4\): .*refused"):
            Held(end("127.0.0.1"), End(there, "127.0.0.4"))  # type: ignore[arg-type]


def test_a_held_connection_carries_words_both_ways(held: Held) -> None:
    """Also two that were said before the first was heard."""
    held.say("one")
    held.say("two")
    assert [held.hear(soon()), held.hear(soon())] == ["one", "two"]


def test_silence_is_told_from_an_answer(held: Held) -> None:
    """Nothing was said, so nothing can come."""
    with pytest.raises(AssertionError, match="timed out"):
        held.hear(Deadline.after(0.3))


def test_a_connection_that_ended_is_told_as_such_and_not_made_anew() -> None:
    """Though somebody listens again at the other end: whoever asks later hears the same."""
    with socket.create_server(("127.0.0.3", 0)) as server:

        class There(Here):
            def run(self, argv: list[str], **_: Any) -> Result:
                return Result(tuple(argv), 0, json.dumps({"port": server.getsockname()[1]}).encode(), b"")

        held = Held(end("127.0.0.1"), End(There(), "127.0.0.3"))  # type: ignore[arg-type]
        server.accept()[0].close()
        for _ in range(2):
            with pytest.raises(AssertionError, match=f"the TCP connection of port {held.port} of here is lost"):
                held.hear(soon())
        held.close()


@pytest.mark.parametrize("parse", [streams.parse_port, streams.parse_held, streams.parse_sent, streams.parse_answer])
@pytest.mark.parametrize("output", [b"Traceback (most recent call last):\n", b"{}", b'{"waved": "x"}', b"[]"])
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(parse: Any, output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: tcp does not read as expected"):
        Probe("tcp", (), parse).value(Result((), 0, output, b""), "guest-1")


class Replies:
    """A guest whose pings come back, but for the third batch."""

    def __init__(self) -> None:
        self.batches = 0
        self.nics = self

    def ping(self, target: str, *, by: str, count: int) -> Pings:
        del target, by
        self.batches += 1
        return Pings(count, count - (self.batches == 3))


def test_pings_go_on_until_there_were_enough() -> None:
    """A block that is over at once gets its pings, and what was lost on the way is counted."""
    guest = Replies()
    with pinging(guest, "10.0.0.1", by="m", least=45) as counted:  # type: ignore[arg-type]
        assert counted.pings.sent > 0
    assert counted.pings.sent >= 45
    assert counted.pings.lost == 1


def test_who_pings_while_the_block_fails_stops() -> None:
    """The block's own failure is what is told, and at once: a peer that is dead would take a second a ping."""
    guest, many = Replies(), 10**12
    with pytest.raises(AssertionError, match="the block's"), pinging(guest, "10.0.0.1", by="m", least=many):  # type: ignore[arg-type]
        raise AssertionError("the block's")


def test_a_lost_guest_is_told_when_the_block_ends() -> None:
    """And the block does not wait for its pings for ever."""

    def ping(*_: object, **__: object) -> Pings:
        raise GuestError("gone")

    guest = SimpleNamespace(nics=SimpleNamespace(ping=ping))
    with pytest.raises(GuestError, match="gone"), pinging(guest, "10.0.0.1", by="m", least=10):  # type: ignore[arg-type]
        pass


def test_a_nic_without_an_address_is_the_labs_fault() -> None:
    """It says which network, and what to write."""
    nic = SimpleNamespace(mac="52:54:00:00:00:01", address=None, network=SimpleNamespace(name="peers"))
    with pytest.raises(Exception, match="the lab gives 52:54:00:00:00:01 no address") as told:
        address_of(nic)  # type: ignore[arg-type]
    assert "`subnet:`" in str(told.value.hint)  # type: ignore[attr-defined]
    nic.address = "10.77.0.9/24"
    assert address_of(nic) == "10.77.0.9"  # type: ignore[arg-type]
