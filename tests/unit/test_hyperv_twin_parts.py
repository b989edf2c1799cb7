"""Parts of the Hyper-V twin that need no wire."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import threading
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import agent
from harness.twins.engine import GuestSilent
from harness.twins.hyperv import commandline, console_host, durations, messages
from harness.twins.hyperv.emulated import functions, timesync
from harness.twins.hyperv.emulated.calls import is_pattern, like
from harness.twins.hyperv.emulated.configuration import Config
from harness.twins.hyperv.emulated.functions import Consoles
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.pictures import rgb565
from harness.twins.hyperv.faults import WsmanError
from harness.twins.hyperv.plan import FaultPlan, Planned


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1))
def test_what_is_quoted_for_windows_is_split_into_the_same_words(words):
    assert commandline.split(subprocess.list2cmdline(words)) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  a\tb  ", ["a", "b"]),
        ('"a b"c d', ["a bc", "d"]),
        ('a "" b', ["a", "", "b"]),
        (r"C:\dir\ x", ["C:\\dir\\", "x"]),
        (r'"C:\dir\\" x', ["C:\\dir\\", "x"]),
        (r"a\"b", ['a"b']),
        ('"a""b"', ['a"b']),
    ],
)
def test_a_command_line_is_split_as_the_c_runtime_splits_it(line, words):
    assert commandline.split(line) == words


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT20S", 20), ("PT7200.000S", 7200), ("P1DT1H1M1.5S", 90061.5), ("PT0S", 0), ("P1D", 86400)]
)
def test_durations_are_read(text, seconds):
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "20", "P1Y", "PT-1S", "PT1H1"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="not a duration"):
        durations.seconds(text)


def test_lengths_of_time_are_written_as_windows_writes_them():
    assert (durations.timeout(7200), durations.elapsed(90061)) == ("PT7200.000S", "P1DT1H1M1S")


@given(st.binary(max_size=400))
def test_rubbish_is_a_fault_and_never_an_accident(body):
    with pytest.raises(WsmanError):
        messages.parse(body)
    assert messages.message_id(body) == ""


def test_an_entity_is_not_expanded():
    body = b"""<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>
        <s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
         xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing">
         <s:Header><a:MessageID>x&e;</a:MessageID></s:Header><s:Body/></s:Envelope>"""
    assert "root:" not in messages.message_id(body)


@pytest.mark.parametrize(
    ("text", "pattern", "fits"),
    [
        ("Guest1", "guest*", True),
        ("g[1]", "g[1]", False),
        ("g1", "g[1]", True),
        ("g[1]", "g`[1`]", True),
        ("a*b", "a`*b", True),
        ("axb", "a`*b", False),
        ("ab", "a?", True),
    ],
)
def test_wildcards_are_powershells(text, pattern, fits):
    assert like(text, pattern) is fits
    assert is_pattern(pattern) is (pattern not in {"g`[1`]", "a`*b"})


def test_a_plan_counts_and_ends():
    plan = FaultPlan([Planned.parse({"do": "cut", "on": "Send", "skip": 1, "times": 2})])
    assert [len(plan.take(name)) for name in ("Receive", "Send", "Send", "Send", "Send")] == [0, 0, 1, 1, 0]


def test_a_picture_becomes_rgb565_whatever_its_filters():
    rows = [(0, [255, 0, 0, 0, 255, 0]), (1, [0, 0, 255, 0, 0, 0]), (2, [0, 0, 0, 0, 0, 0]), (4, [0, 0, 0, 0, 0, 0])]
    raw = b"".join(bytes([kind, *row]) for kind, row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 4, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    red, green, blue = 0xF800, 0x07E0, 0x001F
    assert struct.unpack("<8H", rgb565(png, 2, 4)) == (red, green, blue, blue, blue, blue, blue, blue)
    assert struct.unpack("<2H", rgb565(png, 1, 2)) == (red, blue)


def encoded(text):
    return ["-NoProfile", "-EncodedCommand", base64.b64encode(text.encode("utf-16-le")).decode()]


@pytest.mark.parametrize(
    ("arguments", "reads"),
    [
        (encoded("process { $_ } end { $null = $input }"), True),
        (encoded("$Input | % { $_ }"), True),
        (encoded("process { $_ }"), False),
        (encoded("process { $_ } # not $input"), False),
        (["-enc", *encoded("@($input)")[2:]], True),
        (["-ec", "no base64!"], False),
        (["-Command", "$input", "|", "Out-String"], True),
        (["-c", "Get-VM"], False),
        (["-ExecutionPolicy", "Bypass", "-File", "/no/such.ps1"], False),
        (["-NoProfile"], False),
        ([], False),
    ],
)
def test_only_scripts_that_use_input_are_given_any(arguments, reads):
    """As the console host of PowerShell decides it, or a script reads for ever what nobody hands it."""
    assert console_host.reads_input(arguments) is reads


def test_both_ways_to_start_the_agent_hand_it_its_input(tmp_path):
    """On real hosts as on the twin."""
    script = tmp_path / "agent.ps1"
    script.write_bytes(agent.source())
    assert console_host.reads_input(agent.inline())
    assert console_host.reads_input(["-File", str(script)])


class Clocked:
    """A guest whose agent is silent at first."""

    def __init__(self):
        self.asked, self.was_set = [], threading.Event()

    def guest_set_clock(self, *, back=False):
        self.asked.append(back)
        if len(self.asked) < 2:
            raise GuestSilent("not yet", operation="clock")
        self.was_set.set()


def test_a_guest_sets_its_clock_when_its_host_demands_it_also_back():
    vm = Vm(Config("guest"), 1, "guest")
    vm.machine, vm.state = Clocked(), "Running"
    timesync.demand(vm)
    assert vm.machine.was_set.wait(10)
    assert vm.machine.asked == [True, True]


@pytest.mark.parametrize(("on", "state"), [(False, "Running"), (True, "Paused")])
def test_a_guest_keeps_its_clock_where_the_service_is_off_or_nothing_runs(on, state):
    vm = Vm(Config("guest"), 1, "guest")
    vm.machine, vm.state, vm.config.services[timesync.TIMESYNC] = Clocked(), state, on
    timesync.demand(vm)
    for thread in [each for each in threading.enumerate() if each.name == "timesync guest"]:
        thread.join(10)
    assert vm.machine.asked == []


def test_a_console_keeps_as_much_as_the_agents_script_would(tmp_path):
    """And its guest finds somebody who reads, however much it prints."""
    log, pipe = tmp_path / "console.log", tmp_path / "pipe"
    consoles = Consoles()
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(10)
        server.bind(str(pipe))
        server.listen()
        consoles.start(pipe, log, fresh=True, most=10)
        machine, _ = server.accept()
        with machine:
            machine.settimeout(10)
            for _ in range(64):
                machine.sendall(b"0123456789abcdef" * 4096)
            consoles.stop(log)
    assert log.read_bytes() == b"0123456789"
    assert f"[long]$Most = {functions._MOST >> 20}MB" in agent.source().decode()
