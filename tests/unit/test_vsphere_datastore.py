"""Files on a datastore: read in pieces, over connections that may be cut, with rights that may be missing."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from harness.core import LabError
from tests.unit import vsphere_hypervisor
from tests.unit.vsphere_host import within

place, front, host = vsphere_hypervisor.place, vsphere_hypervisor.front, vsphere_hypervisor.host


def test_a_file_is_read_in_pieces(host, tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "log").write_bytes(content)
    host._files.put(tmp_path / "log", "interop/a b/serial.log", within())
    read = host._files.read
    assert read("interop/a b/serial.log", 100, 1000, within()) == content[100:1100]
    assert read("interop/a b/serial.log", len(content) - 5, 1000, within()) == content[-5:]
    assert read("interop/a b/serial.log", len(content), 1000, within()) == b""
    assert read("interop/absent", 0, 1000, within()) == b""
    host._files.delete_empty("interop/a b", within())
    assert host._files.listed("interop/a b", within()) == ("serial.log",)
    host._files.delete("interop/a b", within())
    host._files.delete("interop/a b", within())


def test_a_kept_connection_that_the_host_closed_is_no_error(host, front, tmp_path):
    (tmp_path / "log").write_bytes(b"hello")
    host._files.put(tmp_path / "log", "interop/x.log", within())
    assert host._files.read("interop/x.log", 0, 9, within()) == b"hello"
    front.cutting["GET"] = 1
    assert host._files.read("interop/x.log", 0, 9, within()) == b"hello"
    host._files.delete("interop/x.log", within())


def test_a_file_that_may_not_be_written_says_which_right_is_missing(host, front, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    front.refusing["PUT"] = 2
    front.status["PUT"] = 403
    with pytest.raises(LabError, match="403") as caught:
        host._files.put(tmp_path / "x", "interop/x", within())
    assert "Datastore.FileManagement" in caught.value.hint
    del front.status["PUT"]
