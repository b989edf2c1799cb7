"""A serial port's log and line."""

import socket
import tempfile
import threading
from pathlib import Path

import pytest

from harness.backends.kvm import serial
from harness.backends.kvm.serial import FileConsole, trim
from harness.backends.protocol import Console, WrongState
from harness.core import Deadline, LabError, Pending, wait_for


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as name:  # a socket's path must be short
        yield Path(name)


@pytest.fixture
def port(folder):
    """QEMU's end of the line; collects what is typed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "con"))
        listener.listen()
        yield Port(listener)


class Port:
    def __init__(self, listener):
        self.typed = b""
        self.line = None
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener):
        self.line, _ = listener.accept()
        with self.line:
            while data := self.line.recv(1000):
                self.typed += data


@pytest.fixture
def console(folder):
    made = FileConsole(folder / "log", folder / "con", "here")
    yield made
    made.hang_up()


def test_it_keeps_the_protocol(console):
    assert isinstance(console, Console)


def test_reading_does_not_consume(console, folder):
    (folder / "log").write_bytes(b"hello world")
    assert console.read(0, 5) == console.read(0, 5) == b"hello"
    assert console.read(6, 100) == b"world"
    assert console.read(11, 100) == b""


def test_a_machine_that_never_ran_has_said_nothing(console):
    assert console.read(0, 100) == b""


def test_what_is_typed_arrives_and_output_never_stalls_the_guest(console, port):
    console.write(b"ls\n")
    wait_for("typing", lambda: True if port.typed == b"ls\n" else Pending(repr(port.typed)), Deadline.after(10))
    port.line.settimeout(10)
    port.line.sendall(b"x" * (4 << 20))  # far beyond a socket's buffer: somebody must be reading


def test_typing_at_a_machine_that_is_off_is_the_wrong_state(console):
    with pytest.raises(WrongState, match="off"):
        console.write(b"x")


def test_a_line_that_cannot_be_opened_says_why(folder):
    (folder / "con").mkdir()
    with pytest.raises((LabError, WrongState)):
        FileConsole(folder / "log", folder / "con", "here").write(b"x")


def test_a_new_session_begins_at_zero(console, folder):
    (folder / "log").write_bytes(b"old")
    console.forget()
    assert console.read(0, 100) == b""


def test_rubbish_without_end_does_not_fill_the_disk(console, folder, monkeypatch):
    monkeypatch.setattr(serial, "MOST_LOG", 1 << 20)
    monkeypatch.setattr(serial, "KEPT_HEAD", 64 << 10)
    monkeypatch.setattr(serial, "KEPT_TAIL", 256 << 10)
    log = folder / "log"
    log.write_bytes(b"first" + b"\xff" * (4 << 20) + b"last")
    trim(log)
    assert log.stat().st_blocks * 512 <= 1 << 20
    assert console.read(0, 5) == b"first"
    assert console.read(log.stat().st_size - 4, 100) == b"last"
