"""COM ports of the Hyper-V twin, as clients of named pipes find them."""

import socket
from types import SimpleNamespace

import pytest

from harness.twins.hyperv.emulated.pipes import Pipe


@pytest.fixture
def port(tmp_path):
    """A port of a running machine that has said one line since its power-on, and then says nothing."""
    log = tmp_path / "serial"
    log.write_bytes(b"Linux version\n")
    typed = []
    machine = SimpleNamespace(serial_path=log, serial_write=typed.append)
    vm = SimpleNamespace(on=True, machine=machine, unheard=True)
    pipe = Pipe("\\\\.\\pipe\\com1", tmp_path / "com1", vm)
    yield SimpleNamespace(log=log, typed=typed, place=tmp_path / "com1")
    pipe.close()


def client(port):
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(20)
    found.connect(str(port.place))
    return found


def test_the_first_client_gets_all_since_power_on(port):
    with client(port) as first:
        assert first.recv(100) == b"Linux version\n"


def test_clients_that_hang_up_make_room_while_the_guest_is_silent(port):
    """A listener's backlog is short: with clients that are gone before it, the next one's connect would hang."""
    for _ in range(5):
        client(port).close()
    with client(port) as last:
        last.sendall(b"help\r")
        with port.log.open("ab") as log:
            while b"help\r" not in b"".join(port.typed):
                pass
            log.write(b"login: ")
        assert last.recv(100).endswith(b"login: ")
