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
