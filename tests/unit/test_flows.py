"""Load between guests: the programs at both ends, run here, and what is made of their words."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from harness.core import Deadline, GuestError
from harness.guest import flows
from harness.guest.flows import Answers, Flood, Flow
from harness.guest.inside import program
from harness.guest.probe import Probe
from harness.guest.result import Result
from harness.guest.streams import End


class Here:
    """A guest that is this very machine."""

    name = "here"

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout: timedelta = timedelta(minutes=1)) -> Result:
        words = [sys.executable if word == "python3" else word for word in argv]
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout.total_seconds(), check=False)
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr).checked(self.name)


def end(address: str) -> End:
    return End(Here(), address)  # type: ignore[arg-type]


def test_every_flow_tells_what_was_sent_and_what_came() -> None:
    """Both sides count by themselves, and all flows go on at once."""
    done = flows.flood(end("127.0.0.1"), end("127.0.0.2"), 5, timedelta(seconds=0.3))
    assert len(done.flows) == 5
    assert all(flow.whole and flow.seconds >= 0.3 for flow in done.flows)
    assert done.size == sum(flow.sent for flow in done.flows)
    assert done.rate == pytest.approx(done.size / max(flow.seconds for flow in done.flows))


def test_a_flow_whose_time_is_over_when_it_begins_sends_something() -> None:
    """A slow guest that begins 64 of them gets to the last when the time is over."""
    done = flows.flood(end("127.0.0.1"), end("127.0.0.2"), 3, timedelta(0))
    assert [flow.whole for flow in done.flows] == [True] * 3


def test_a_flow_that_is_not_whole_is_told_from_one_that_is() -> None:
    """Nothing sent, less come than sent, or broken: none of these is whole."""
    assert Flow(5, 5, 1.0).whole
    assert not any(flow.whole for flow in (Flow(0, 0, 1.0), Flow(5, 4, 1.0), Flow(5, None, 0.0, "reset")))
    assert Flood((Flow(5, None, 0.0, "reset"),)).rate == 0.0


def test_each_request_is_answered_and_timed() -> None:
    """One after another, as often as was asked for."""
    done = flows.ask(end("127.0.0.1"), end("127.0.0.2"), 50, Deadline.after(20))
    assert len(done.seconds) == 50
    assert not done.broken
    assert 0 < done.percentile(50) <= done.percentile(99) <= done.percentile(100) == max(done.seconds)


def test_percentiles_are_of_the_nearest_rank() -> None:
    """Half of four values is the second; and of none there is none."""
    answers = Answers((0.4, 0.1, 0.3, 0.2))
    assert [answers.percentile(percent) for percent in (0, 50, 51, 99)] == [0.1, 0.2, 0.3, 0.4]
    with pytest.raises(ValueError, match="no answer"):
        Answers(()).percentile(50)


def told(*words: str) -> bytes:
    argv = [sys.executable, "-", *words]
    return subprocess.run(argv, input=program("flows"), capture_output=True, timeout=30, check=True).stdout


def test_nobody_who_listens_is_told_in_the_kernels_words() -> None:
    """Not as a traceback, and not as a flow of no bytes."""
    seen = flows.parse_flood(told("flood", "127.0.0.1", "127.0.0.2", "1", "2", "0.1"))
    assert isinstance(seen, str)
    assert "refused" in seen
    answers = flows.parse_answers(told("ask", "127.0.0.1", "127.0.0.2", "1", "3"))
    assert answers.seconds == ()
    assert "refused" in answers.broken


def test_a_connection_that_ends_in_the_middle_leaves_its_share() -> None:
    """What was answered until then counts, and the reason stands beside it."""
    said = json.dumps({"took": [0.1, 0.2], "broken": "timed out"}).encode()
    assert flows.parse_answers(said) == Answers((0.1, 0.2), "timed out")
    said = json.dumps({"flows": [{"sent": 9, "broken": "reset"}, {"sent": 7, "received": 7, "seconds": 2}]}).encode()
    assert flows.parse_flood(said) == Flood((Flow(9, None, 0.0, "reset"), Flow(7, 7, 2.0)))


@pytest.mark.parametrize("parse", [flows.parse_flood, flows.parse_answers])
@pytest.mark.parametrize("output", [b"Traceback (most recent call last):\n", b"{}", b'{"flows": []}', b"[]"])
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(parse: Any, output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: flows does not read as expected"):
        Probe("flows", (), parse).value(Result((), 0, output, b""), "guest-1")
