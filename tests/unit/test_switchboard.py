"""The one switch of all processes: started by the first client, gone after the last."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.core import Deadline, Pending, wait_for
from harness.qemu import QemuError, switchboard
from harness.qemu.switch import Plug
from harness.qemu.switchboard import SwitchClient


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "switch"


@pytest.fixture
def hasty(folder):
    """A switch that leaves 0.2 s after its last client."""
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "harness.qemu.switchboard", folder, "0.2"], timeout=20, check=True)
    return folder


def gone(folder):
    return wait_for(
        "the switch to end",
        lambda: True if not (folder / "control").exists() else Pending("its socket is there"),
        Deadline.after(10),
    )


@pytest.mark.usefixtures("hasty")
def test_two_clients_share_one_switch(folder):
    first, second = SwitchClient(folder), SwitchClient(folder)
    try:
        first.plug(("127.0.0.1", 7001), Plug("peers"))
        assert second.counters(("127.0.0.1", 7001)).received == 0
    finally:
        first.close()
        second.close()
    gone(folder)


def test_frames_pass_between_ports(hasty):
    client = SwitchClient(hasty)
    stations = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        for station in stations:
            station.bind(("127.0.0.1", 0))
            station.settimeout(10)
            client.plug(station.getsockname(), Plug("peers", trunk=frozenset({7}), native=8))
        frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x08\x00" + b"x" * 46
        stations[0].sendto(frame, client.address)
        assert stations[1].recv(100) == frame
    finally:
        for station in stations:
            station.close()
        client.close()
    gone(hasty)


def test_it_starts_by_itself_and_ends_when_a_client_is_killed(folder, monkeypatch):
    monkeypatch.setattr(switchboard, "_start", lambda where, _: _start_hasty(where))
    script = "import sys, os; from pathlib import Path; from harness.qemu.switchboard import SwitchClient\n"
    script += "client = SwitchClient(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    first = SwitchClient(folder)
    killed = subprocess.run([sys.executable, "-c", script, folder], timeout=20, check=False)
    assert killed.returncode == -9
    first.close()
    gone(folder)


def _start_hasty(folder):
    subprocess.run([sys.executable, "-m", "harness.qemu.switchboard", folder, "0.2"], timeout=20, check=True)


def test_a_refusal_names_the_request(hasty):
    client = SwitchClient(hasty)
    try:
        with pytest.raises(QemuError, match="loopback"):
            client.plug(("192.0.2.7", 1), Plug("peers"))
        with pytest.raises(QemuError, match="not plugged"):
            client.cut(("127.0.0.1", 1), True)
    finally:
        client.close()
    gone(hasty)


def test_the_folder_may_have_a_long_name(tmp_path):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    _start_hasty(folder)
    client = SwitchClient(folder)
    client.close()
    gone(folder)


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path):
    folder = tmp_path / "switch"
    folder.mkdir()
    (folder / "control").mkdir()
    with pytest.raises(QemuError, match="did not start"):
        SwitchClient(folder)


def test_the_switch_listens_on_loopback_alone(hasty):
    client = SwitchClient(hasty)
    try:
        assert client.address[0].startswith("127.")
        assert (hasty / "control").stat().st_uid == os.getuid()
    finally:
        client.close()
    gone(hasty)


def test_a_killed_switch_is_followed_by_another(hasty, monkeypatch):
    monkeypatch.setattr(switchboard, "_start", lambda where, _: _start_hasty(where))
    client = SwitchClient(hasty)
    try:
        client.plug(("127.0.0.1", 7002), Plug("peers"))
        _kill_switch_of(hasty)
        client.plug(("127.0.0.1", 7002), Plug("peers"))
        assert client.counters(("127.0.0.1", 7002)).received == 0
    finally:
        client.close()
    gone(hasty)


def test_an_address_that_is_given_back_a_moment_later_is_waited_for(folder):
    """The kernel may close the control socket of a process that was killed before it closes the switch's own."""
    folder.mkdir()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as left_over:
        left_over.bind(switchboard.address_of(folder))
        later = threading.Timer(0.5, left_over.close)
        later.start()
        _start_hasty(folder)
        later.join()
    gone(folder)


def _kill_switch_of(folder):
    for entry in Path("/proc").glob("[0-9]*"):
        words = (entry / "cmdline").read_bytes().split(b"\0") if (entry / "cmdline").exists() else []
        if b"harness.qemu.switchboard" in words and str(folder).encode() in words:
            os.kill(int(entry.name), signal.SIGKILL)


def test_several_threads_may_ask_at_once(hasty):
    client = SwitchClient(hasty)
    try:
        ports = [("127.0.0.1", 7100 + number) for number in range(40)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda port: client.plug(port, Plug("peers")), ports))
            assert len(list(threads.map(client.counters, ports))) == len(ports)
    finally:
        client.close()
    gone(hasty)


def test_a_switch_whose_folder_is_deleted_ends_and_frees_its_address(hasty):
    client = SwitchClient(hasty)
    address = client.address
    try:
        shutil.rmtree(hasty)
        wait_for("the address to be free", lambda: bound(address), Deadline.after(10))
    finally:
        client.close()


def bound(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        try:
            other.bind(address)
        except OSError as error:
            return Pending(str(error))
        return True


def test_the_same_path_elsewhere_has_another_address(tmp_path):
    """Containers may have the same path and share one loopback."""
    folder = tmp_path / "switch"
    folder.mkdir()
    first = switchboard.address_of(folder)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    assert switchboard.address_of(folder) != first


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_ones(folder):
    """Who asked in vain asks anew on another connection."""
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control"))
        listener.listen()
        client = SwitchClient(folder, seconds=0.5)
        first = listener.accept()[0]
        with pytest.raises(QemuError, match="does not answer"):
            client.counters(("127.0.0.1", 7001))
        with ThreadPoolExecutor(1) as apart:
            asked = apart.submit(client.heard, ("127.0.0.1", 7001))
            second = listener.accept()[0]
            for connection, result in ((first, {"received": 7}), (second, [])):
                with connection, contextlib.suppress(BrokenPipeError):
                    connection.recv(65536)
                    connection.sendall(json.dumps({"result": result}).encode() + b"\n")
            assert asked.result(10) == []
        client.close()
