"""TCP between two guests: data sent from one to the other, and a connection that is held open."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.core import Deadline, Size
from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# How long a connection may stand still: a busy, emulated guest can stall for many seconds.
_STILL = timedelta(seconds=60)
_SPARE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: a guest, and which of its addresses, which decides by which NIC."""

    guest: Guest
    address: str

    def __str__(self) -> str:
        return f"{self.guest.name} ({self.address})"


@dataclass(frozen=True, slots=True)
class Data:
    """What passed one end of a connection: how much, and its sha256 in hexadecimal digits."""

    size: Size
    sha256: str


@dataclass(frozen=True, slots=True)
class Sent:
    """Data on their way between two guests.

    Args:
        sent: as the one side wrote them.
        received: as the other side read them.
    """

    sent: Data
    received: Data


def parse_port(data: bytes) -> int:
    """What a program that listens prints first."""
    return int(read_json(data)["port"])


def parse_held(data: bytes) -> int | str:
    """What ``tcp hold`` prints first: its port, or why it could not connect."""
    fields = read_json(data)
    return str(fields["broken"]) if "broken" in fields else int(fields["port"])


def parse_sent(data: bytes) -> Sent | str:
    """What ``tcp send`` printed: both sides, or why the connection broke."""
    fields = read_json(data)
    if "broken" in fields:
        return str(fields["broken"])
    return Sent(_data(fields["sent"]), _data(fields["received"]))


def _data(fields: dict[str, object]) -> Data:
    return Data(Size(int(str(fields["size"]))), str(fields["sha256"]))


def parse_answer(data: bytes) -> tuple[str, str]:
    """What ``tcp hold`` answered: ``said``, ``heard``, ``closed`` or ``broken``, and which word, or why."""
    ((kind, word),) = read_json(data).items()
    if kind not in ("said", "heard", "closed", "broken"):
        raise ValueError(f"{kind!r} is no answer")
    return kind, str(word)


def send(source: End, target: End, size: Size, deadline: Deadline) -> Sent:
    """Send random data over one TCP connection and take sha256 at both ends.

    Args:
        source: who sends.
        target: who receives.
        size: how much.
        deadline: when all must have passed.

    Raises:
        AssertionError: the connection could not be made, broke, or stood still for a minute.
    """
    port, still = _serve(target, "receive"), str(_STILL.total_seconds())
    argv = ("python3", "-", "send", source.address, target.address, str(port), str(int(size)), still)
    result = source.guest.run(argv, stdin=program("tcp"), timeout=timedelta(seconds=deadline.seconds))
    sent = Probe("data sent", argv, parse_sent).value(result, source.guest.name)
    assert isinstance(sent, Sent), f"{size} from {source} to {target}: {sent}"
    return sent


class Held:
    """One TCP connection from a guest to another one, which sends back what it gets.

    Args:
        holder: who holds it.
        other: who answers.

    Raises:
        AssertionError: the connection could not be made.
    """

    def __init__(self, holder: End, other: End) -> None:
        self._guest = holder.guest
        self._socket = f"/run/interop-held-{secrets.token_hex(4)}"
        argv = ("python3", "-", "hold", self._socket, holder.address, other.address, str(_serve(other, "echo")))
        result = holder.guest.run(argv, stdin=program("tcp"))
        made = Probe("held connection", argv, parse_held).value(result, holder.guest.name)
        assert isinstance(made, int), f"a TCP connection from {holder} to {other}: {made}"
        self.port = made
        """The holder's own port of this connection."""

    def say(self, word: str) -> None:
        """Write a line into the connection; whether it arrives, :meth:`hear` tells.

        Raises:
            AssertionError: the connection is broken.
        """
        self._ask(f"say {word}", _SPARE)

    def hear(self, deadline: Deadline) -> str:
        """The next line that comes back.

        Raises:
            AssertionError: the connection is broken, or nothing came by the deadline.
        """
        return self._ask(f"hear {deadline.seconds:.1f}", timedelta(seconds=deadline.seconds))

    def close(self) -> None:
        """End the connection, and who holds it."""
        self._ask("close", _SPARE)

    def _ask(self, request: str, patience: timedelta) -> str:
        argv = ("python3", "-", "ask", self._socket, request)
        result = self._guest.run(argv, stdin=program("tcp"), timeout=patience + _SPARE)
        kind, word = Probe("held connection", argv, parse_answer).value(result, self._guest.name)
        assert kind != "broken", f"the TCP connection of port {self.port} of {self._guest.name} is lost: {word}"
        return word


def _serve(end: End, verb: str) -> int:
    """Start a program that listens; returns the port."""
    argv = ("python3", "-", verb, end.address, str(_STILL.total_seconds()))
    done = end.guest.run(argv, stdin=program("tcp"))
    return Probe(f"port of {verb}", argv, parse_port).value(done, end.guest.name)
