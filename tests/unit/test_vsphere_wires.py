"""Serial ports of an ESXi, heard and typed into over TCP."""

from __future__ import annotations

import contextlib
import socket

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.vsphere import wires
from harness.core import Deadline, Pending, wait_for


def test_a_port_that_was_connected_to_itself_is_let_go(tmp_path, monkeypatch):
    """Else nobody could listen there, and what is typed would be taken for what the guest says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = probe.getsockname()
    connect, themselves = socket.create_connection, []

    def first_to_itself(address, timeout):
        if themselves:
            return connect(address, timeout=timeout)
        themselves.append(connect(address, timeout=timeout, source_address=address))
        return themselves[0]

    monkeypatch.setattr(socket, "create_connection", first_to_itself)
    with contextlib.closing(wires.Wire(tmp_path / "vm-1", *where)) as wire, socket.socket() as host:
        wait_for("it to meet itself", lambda: bool(themselves) or Pending("not yet"), Deadline.after(30))
        wire.write(b"typed")
        host.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def listening() -> bool | Pending:
            try:
                host.bind(where)
            except OSError as error:
                return Pending(str(error))
            return True

        wait_for("the port to be free", listening, Deadline.after(10))
        host.listen()
        host.settimeout(30)
        line, _ = host.accept()
        with line:
            line.settimeout(30)
            assert line.recv(100) == b"typed"
        assert wire.read(0, 100) == b"", "what was typed came back as if the guest had said it"


def test_a_guest_that_never_stops_printing_does_not_fill_the_disk(tmp_path):
    """The middle of what was heard is given back; how much that was, where it began and where it ends stays."""
    size, piece = 70 << 20, b"x" * (1 << 20)
    with contextlib.ExitStack() as open_:
        host = open_.enter_context(socket.create_server(("127.0.0.1", 0)))
        wire = open_.enter_context(contextlib.closing(wires.Wire(tmp_path / "vm-1", *host.getsockname())))
        line = open_.enter_context(host.accept()[0])
        for _ in range(size // len(piece)):
            line.sendall(piece)
        line.sendall(b"the end")

        def heard() -> bool | Pending:
            return wire.read(size, 100) == b"the end" or Pending("not all yet")

        wait_for("all of it", heard, Deadline.after(60))
        assert wire.read(0, 100) == b"x" * 100
        assert wire.read(size // 2, 100) == b"\0" * 100
    assert (tmp_path / "vm-1.log").stat().st_blocks * 512 < size // 2
