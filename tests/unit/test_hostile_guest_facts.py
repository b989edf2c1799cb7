"""Whatever a guest says where a fact is asked for, it is a fact or no fact: nothing else is raised, and it ends."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import signal
from pathlib import Path

import pytest

import harness.guest
from harness.guest import Probe, ProbeFailed
from harness.guest.batch import Batch
from harness.guest.chrony import SOURCES
from harness.guest.cpus import parse_cpu_list
from harness.guest.kernel import VERSION
from harness.guest.result import Result
from harness.guest.system import MACHINE_ID
from harness.guest.timekeeping import parse_overshoots

LONG = 300_000
NONSENSE = (
    *(b"", b"\0" * 50, b"\xff" * 50, b"\n" * 1000, b"../../etc/passwd", "\u0661\u0662".encode(), b"'", b"="),
    *(b"9" * 5000, b"-1", b"nan", b"inf", b"1e999", b"9" * 30, b"0-999999", b"-9999999999999999999999999.5 nan"),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"null", b"[]", b"{}", b'"x"', b"1", b"[null]", b"[{}]", b"[[]]"),
    *(b'{"blockdevices":[null]}', b'{"blockdevices":[{}]}', b'{"blockdevices":1}', b'NAME="', b"NAME='x\nPRETTY=$(id)"),
    *(b"a b c d e f g h i j", b"1,99999999999999999999999,9999999999999999999999999;x", b"installed \xe2", b": : :"),
    b"\x7fELF\x02\x01" + b"\xff" * 100,
)
# What a careless pattern or loop needs the square of its length for.
ENDLESS = tuple(
    piece * (LONG // len(piece))
    for piece in (
        b"9",
        b"a",
        b" ",
        b"a=",
        b"1.",
        b"[",
        b"1,",
        b"a b ",
        b"a: ",
        b"a\n",
        b"a 1\n",
        b"a-",
        b"1-2,",
        b"'",
        b"/a",
    )
)


def readers() -> dict[str, Probe]:
    """Every fact that the package knows, and every parser that reads bytes alone."""
    found: dict[str, Probe] = {}
    for module in pkgutil.iter_modules(harness.guest.__path__):
        if module.name == "inside":  # what runs in guests
            continue
        names = vars(importlib.import_module(f"harness.guest.{module.name}"))
        found |= {f"{module.name}.{name}": one for name, one in names.items() if isinstance(one, Probe)}
        known = {probe.parse for probe in found.values()}
        for name, one in names.items():
            if inspect.isfunction(one) and name.startswith("parse_") and one not in known:
                needed = [each for each in inspect.signature(one).parameters.values() if each.default is each.empty]
                if len(needed) == 1 and "bytes" in str(needed[0].annotation) and "Mapping" not in needed[0].annotation:
                    found[f"{module.name}.{name}"] = Probe(name, ("a program",), one)
    return found


READERS = readers()
SLEEPS = Probe("sleeps", ("python3",), lambda data: parse_overshoots(data, 0.01))


def told(probe: Probe, words: bytes) -> list[bytes]:
    """The words as they are; and, for facts that are read from several files, as the content of each."""
    if not any("exec grep" in word for word in probe.argv):
        return [words]
    paths = [re.sub(r"\[[^]]*\]", "0", glob).replace("*", "0").encode() for glob in probe.argv[4:]]
    return [words, b"".join(path + b"\0" + words + b"\n" for path in paths), paths[0] + b"\xff\0" + words]


def why_not(probe: Probe, data: bytes) -> str:
    """Why it is no fact; empty where it is one."""
    try:
        probe.value(Result(probe.argv, 0, data, b""), "guest")
    except ProbeFailed as error:
        return str(error)
    return ""


class Endless(BaseException):
    """Far more work than reading takes."""


@pytest.fixture
def patience():
    """Seconds of the processor's time, whatever else it does: what ends at all takes a thousandth of them."""

    def over(number, frame):
        raise Endless

    before = signal.signal(signal.SIGVTALRM, over)
    yield lambda seconds: signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def test_there_are_facts_to_try():
    assert len(READERS) > 80
    assert READERS["kernel.VERSION"] is VERSION


@pytest.mark.parametrize("name", sorted(READERS))
def test_nonsense_is_no_fact_and_its_message_is_bounded(name, patience):
    """A number beyond all bounds, JSON nested without end, wrong types, half a quote: the guest's fault alone."""
    probe = READERS[name]
    patience(20)
    for words in NONSENSE:
        for data in told(probe, words):
            assert len(why_not(probe, data)) < 3000


@pytest.mark.parametrize("name", sorted(READERS))
def test_words_without_end_are_read_to_their_end(name, patience):
    """A third of a megabyte: what needs its square would need hours."""
    probe = READERS[name]
    for words in ENDLESS:
        patience(20)
        for data in told(probe, words):
            assert len(why_not(probe, data)) < 3000


def test_a_list_of_all_numbers_does_not_fill_the_memory():
    with pytest.raises(ValueError, match="beyond the CPUs"):
        parse_cpu_list(b"0-9999999")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_none_is_no_fact(number):
    """Whatever a limit says: each comparison with it would be without meaning, or always come out well."""
    with pytest.raises(ProbeFailed, match="is no number"):
        SLEEPS.value(Result(SLEEPS.argv, 0, f'{{"overshoots": [0.1, {number}]}}'.encode(), b""), "guest")
    row = f"^,*,pool,2,6,377,1,0.1,{number},0.2".encode()
    with pytest.raises(ProbeFailed, match="is no number"):
        SOURCES.value(Result(SOURCES.argv, 0, row, b""), "guest")


def test_no_fact_is_read_as_json_by_anything_else():
    """What Python's own reader takes for numbers is more than JSON has."""
    folder = Path(harness.guest.__file__).parent
    readers = {path.name for path in folder.glob("*.py") if "json.loads(" in path.read_text()}
    assert readers == {"probe.py", "mailbox.py"}, "texts alone are in mailboxes"


@pytest.mark.parametrize("status", [b"x", b"-1", b"9999", b"1" * 5000])
def test_a_frame_with_another_status_than_commands_have_is_none(status):
    """The guest learns the token; nothing keeps it from printing frames itself."""
    batch = Batch([VERSION, MACHINE_ID])
    frames = b"%b begin\n6.1\n%b %b\n" % (batch.token.encode(), batch.token.encode(), status)
    with pytest.raises(ProbeFailed, match="osrelease"):
        batch.results(frames, frames, "guest")
