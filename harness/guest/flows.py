"""Load on the way between two guests: streams as fast as they go, and requests that are answered one by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from harness.core import Deadline
from harness.guest.inside import program
from harness.guest.probe import Probe, read_json
from harness.guest.streams import End, parse_port

# The programs give a connection a minute to come, and another to go on where it stands still.
_SPARE = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Flow:
    """One TCP connection that was filled for a while.

    Args:
        sent: bytes that one side wrote.
        received: bytes that the other side says came; None where the connection broke.
        seconds: from the first byte of all flows until that was said; 0 where the connection broke.
        broken: why it broke; empty where it did not.
    """

    sent: int
    received: int | None
    seconds: float
    broken: str = ""

    @property
    def whole(self) -> bool:
        """Whether something was sent, and just that came."""
        return 0 < self.sent == self.received


@dataclass(frozen=True, slots=True)
class Flood:
    """Several flows at once.

    Args:
        flows: each of them.
    """

    flows: tuple[Flow, ...]

    @property
    def size(self) -> int:
        """How many bytes came, by all flows together."""
        return sum(flow.received or 0 for flow in self.flows)

    @property
    def rate(self) -> float:
        """Bytes a second, of all flows together, until the last byte had come; 0 where none came."""
        seconds = max((flow.seconds for flow in self.flows), default=0.0)
        return self.size / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Answers:
    """Requests of a byte each, every one sent when the one before had been answered.

    Args:
        seconds: how long each answer took, in the order they were asked.
        broken: why there are fewer than were asked for; empty where there are not.
    """

    seconds: tuple[float, ...]
    broken: str = ""

    def percentile(self, percent: float) -> float:
        """The time, in seconds, that so many percent of the answers kept to (nearest rank).

        Raises:
            ValueError: there was no answer.
        """
        if not self.seconds:
            raise ValueError("no answer, no percentile")
        ordered = sorted(self.seconds)
        return ordered[max(0, ceil(percent / 100 * len(ordered)) - 1)]


def parse_flood(data: bytes) -> Flood | str:
    """What ``flows flood`` printed: each flow, or why they could not be begun."""
    fields = read_json(data)
    if "broken" in fields:
        return str(fields["broken"])
    flows = [
        Flow(int(flow["sent"]), None, 0.0, str(flow["broken"]))
        if "broken" in flow
        else Flow(int(flow["sent"]), int(flow["received"]), float(flow["seconds"]))
        for flow in fields["flows"]
    ]
    if not flows:
        raise ValueError("no flow at all")
    return Flood(tuple(flows))


def parse_answers(data: bytes) -> Answers:
    """What ``flows ask`` printed."""
    fields = read_json(data)
    return Answers(tuple(float(each) for each in fields["took"]), str(fields.get("broken", "")))


def flood(source: End, target: End, streams: int, span: timedelta) -> Flood:
    """Fill so many TCP connections at once.

    Args:
        source: who sends.
        target: who receives.
        streams: how many connections.
        span: for how long; what is on its way then arrives after it.

    Raises:
        AssertionError: a connection could not be made.
    """
    port = _serve(target, "drain", str(streams))
    words = (source.address, target.address, str(port), str(streams), f"{span.total_seconds():g}")
    argv = ("python3", "-", "flood", *words)
    result = source.guest.run(argv, stdin=program("flows"), timeout=span + _SPARE)
    seen = Probe("flood of data", argv, parse_flood).value(result, source.guest.name)
    assert isinstance(seen, Flood), f"{streams} connections from {source} to {target}: {seen}"
    return seen


def ask(source: End, target: End, count: int, deadline: Deadline) -> Answers:
    """Ask for a byte so often, over one TCP connection.

    Args:
        source: who asks.
        target: who answers.
        count: how often.
        deadline: when all must have been answered.

    Raises:
        CommandTimeout: they were not.
    """
    port = _serve(target, "answer")
    argv = ("python3", "-", "ask", source.address, target.address, str(port), str(count))
    result = source.guest.run(argv, stdin=program("flows"), timeout=timedelta(seconds=deadline.seconds))
    return Probe("answers", argv, parse_answers).value(result, source.guest.name)


def _serve(end: End, verb: str, *words: str) -> int:
    """Start a program that listens; returns the port."""
    argv = ("python3", "-", verb, end.address, *words)
    done = end.guest.run(argv, stdin=program("flows"))
    return Probe(f"port of {verb}", argv, parse_port).value(done, end.guest.name)
