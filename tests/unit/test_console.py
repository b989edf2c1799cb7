"""The serial console, against a real shell on a real terminal line."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from datetime import timedelta

import pytest

from harness.core import Deadline
from harness.guest.console import ConsoleSilent, SerialConsole, posix_cksum
from harness.guest.result import CommandFailed
from tests.unit.pty_console import PtyConsole

TEN = timedelta(seconds=10)


class Log:
    """A port that only ever put out ``data``."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.typed = b""

    def read(self, offset: int, limit: int) -> bytes:
        return self.data[offset : offset + limit]

    def write(self, data: bytes) -> None:
        self.typed += data


@pytest.fixture(params=["dash", "bash"])
def line(request):
    """A login shell, with and without a line editor."""
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param} on this machine")
    port = PtyConsole([request.param, "-i"])
    yield port
    port.close()


@pytest.fixture
def console(line):
    return SerialConsole("guest", lambda: line)


def test_a_command_brings_status_and_both_streams(console):
    """As over ssh."""
    done = console.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=TEN, check=False)
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_commands_may_follow_each_other(console):
    """The line is left as it was found."""
    assert [console.run(["echo", str(number)], timeout=TEN).text for number in range(3)] == ["0", "1", "2"]


class Stutters(PtyConsole):
    """A port that says every so many letters one of them twice, as QEMU's does where the guest is emulated and busy."""

    every = 331

    def _collect(self) -> None:
        said = 0
        try:
            while data := os.read(self.line, 4096):
                for letter in data:
                    said += 1
                    self.output += bytes([letter] * (1 + (said % self.every == 0)))
        except OSError:
            pass


def test_output_comes_whole_over_a_port_that_stutters():
    """No try brings all of it; each brings some lines that are whole."""
    port = Stutters(["dash"])
    try:
        done = SerialConsole("guest", lambda: port).run(["seq", "800"], timeout=3 * TEN)
    finally:
        port.close()
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 801))


def test_binary_output_comes_unharmed(console):
    """Escape sequences, carriage returns and NULs of the output are no terminal's business."""
    everything = "".join(f"\\{byte:03o}" for byte in range(256))
    assert console.run(["printf", everything], timeout=TEN).stdout == bytes(range(256))


@pytest.mark.parametrize("word", ["a b", "'", "$HOME", "!!", "\\", "*", "ü"])
def test_words_are_data(console, word):
    """No history expansion, no globbing."""
    assert console.run(["printf", "%s", word], timeout=TEN).stdout == word.encode()


def test_a_failed_command_says_what_it_said(console):
    """With its status."""
    with pytest.raises(CommandFailed, match=r"(?s)ended with 4: bad luck"):
        console.run(["sh", "-c", "echo bad luck >&2; exit 4"], timeout=TEN)


def test_kernel_messages_in_between_do_not_spoil_the_output(console, line):
    """Torn lines are told by the checksum and sent again; the command runs once."""
    stop = threading.Event()

    def kernel() -> None:
        while not stop.wait(0.003):
            line.say(b"[   12.345678] usb 1-1: new device\r\n")

    noise = threading.Thread(target=kernel)
    noise.start()
    try:
        done = console.run(["seq", "2000"], timeout=TEN)
    finally:
        stop.set()
        noise.join()
    assert done.lines == [str(number) for number in range(1, 2001)]


def test_a_half_typed_line_and_a_busy_foreground_do_not_matter(console, line):
    """Somebody may have left the line in any state."""
    line.write(b"sleep 1000\necho half")
    assert console.run(["echo", "mine"], timeout=timedelta(seconds=20)).text == "mine"


def test_a_line_that_nobody_answers_is_silent(capsys):
    """With what was last seen."""
    console = SerialConsole("guest", lambda: Log(b"Debian GNU/Linux\nguest login: "))
    with pytest.raises(ConsoleSilent, match="no shell answered"):
        console.login(Deadline.after(0.3))


def test_waiting_for_a_pattern_finds_it_from_where_asked():
    """By default only what comes from now on counts."""
    console = SerialConsole("guest", lambda: Log(b"one\r\ntwo 22\r\n"))
    assert console.wait_for(r"^two (\d+)$", Deadline.after(1), since=0)[1] == "22"
    with pytest.raises(ConsoleSilent, match="two"):
        console.wait_for("two", Deadline.after(0.1))


def test_news_are_told_once_and_end_at_the_mark():
    """What was another boot's is not told."""
    port = Log(b"old panic\n")
    console = SerialConsole("guest", lambda: port)
    console.mark()
    assert console.news() == ""
    port.data += b"new\n"
    assert console.news() == "new\n"


def test_a_log_that_began_anew_is_read_from_its_start():
    """A power cycle truncates it, and it may even have grown longer since."""
    port = Log(b"first boot, quite long\n")
    console = SerialConsole("guest", lambda: port)
    console.mark()
    port.data = b"second boot, and much longer than the first one was\n"
    assert console.news() == port.data.decode()


def test_rubbish_for_hours_does_not_fill_the_controller():
    """Only the end is held, and offsets stay what they are."""
    port = Log(bytes(range(256)) * (40 << 10) + b"\nthe end\n")
    console = SerialConsole("guest", lambda: port)
    assert console.tail(1) == "the end"
    assert console.end == len(port.data)
    assert len(console.since(0).encode()) < 4 * (4 << 20) + 100


def test_undecodable_bytes_are_shown_as_escapes():
    """The guest is not trusted."""
    assert SerialConsole("guest", lambda: Log(b"a\xffb")).since(0) == "a\\xffb"


def test_a_command_line_longer_than_a_terminals_is_brought_in_pieces(console):
    """A terminal would cut it silently at 4095 bytes."""
    assert console.run(["printf", "%s", "x" * 9000], timeout=TEN).stdout == b"x" * 9000


def test_letters_that_a_terminal_acts_on_are_data_too(console):
    """^C and ^D in a word interrupt nobody."""
    assert console.run(["printf", "%s", "a\x03b\x04\nc"], timeout=TEN).stdout == b"a\x03b\x04\nc"


def test_stdin_reaches_the_command_whole(console):
    """More of it than a terminal would hold."""
    data = bytes(range(256)) * 40
    assert console.run(["cat"], stdin=data, timeout=timedelta(seconds=30)).stdout == data


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 5])
def test_the_checksum_is_posix_cksum(data):
    """The tool's own answer."""
    said = subprocess.run(["cksum"], input=data, capture_output=True, check=True, timeout=10).stdout
    assert posix_cksum(data) == int(said.split()[0])
