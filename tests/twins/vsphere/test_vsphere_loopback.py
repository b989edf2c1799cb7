"""Nothing of a twin can be reached from elsewhere: what its processes have bound is read from the kernel."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import struct
from pathlib import Path

from pyVmomi import vim

from harness.image.keys import generate
from harness.image.seed import SeedNic, SeedSpec, write_seed
from tests.twins.vsphere.client import Client, cd
from tests.twins.vsphere.running import TwinProcess

Bound = tuple[str, int]


def test_only_loopback_is_listened_on_by_any_process_of_a_twin(
    client: Client, twin: TwinProcess, tmp_path: Path
) -> None:
    """With a machine that is on: its forwarded ssh, its switch and its serial console are there, at loopback alone."""
    nics = (SeedNic("00:50:56:00:10:00", "10.78.201.77/16"),)
    seed = write_seed(SeedSpec("i-1", "one", nics, generate(), ()), tmp_path / "seed.iso")
    client.web.put(client.file("loopback.iso"), data=seed.read_bytes()).raise_for_status()
    console = free_port()
    devices = [cd(f"[{client.store}] loopback.iso"), listening(console)]
    machine = client.create("loopback", disks=(16,), nics=("VM Network", "peers"), devices=devices)
    before = bound(twin)
    client.done(machine.PowerOnVM_Task())
    found = bound(twin)
    assert [each for each in found if not loopback(each[0])] == []
    endpoint, port = twin.record["endpoint"].split(":")
    assert (endpoint, int(port)) in before
    assert {("127.78.201.77", 2222), ("127.0.0.1", console)} <= found - before
    commands = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes(twin))
    assert all(word in commands for word in (b"/vcsim-", b"/qemu-system-", b"harness.qemu.switchboard")), commands


def bound(twin: TwinProcess) -> set[Bound]:
    """Local addresses and ports of all internet sockets of the twin and of what it started, connected ones included."""
    found: set[Bound] = set()
    for pid in processes(twin):
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            own = sockets(pid)
            for table in ("tcp", "tcp6", "udp", "udp6"):
                found |= {where for inode, where in rows(Path(f"/proc/{pid}/net/{table}")) if inode in own}
    return found


def processes(twin: TwinProcess) -> set[int]:
    """The twin, its simulator and its emulators; and its switch, which is nobody's child and has its folder's name."""
    found = {twin.process.pid, *twin.descendants()}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if os.fsencode(twin.folder) in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    return found


def sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if match := re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink())):
                found.add(match[1])
    return found


def rows(table: Path) -> list[tuple[str, Bound]]:
    """Inode and local address of each line of a table of the kernel; see proc(5)."""
    lines = [line.split() for line in table.read_text().splitlines()[1:]]
    return [(words[9], address(words[1])) for words in lines]


def address(text: str) -> Bound:
    """The kernel writes each 32 bits of an address as a number of this machine's byte order."""
    where, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(where[at : at + 8], 16)) for at in range(0, len(where), 8))
    return str(ipaddress.ip_address(raw)), int(port, 16)


def loopback(text: str) -> bool:
    """Whether nobody else reaches an address; IPv4 may be written as IPv6."""
    found = ipaddress.ip_address(text)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> vim.vm.device.VirtualSerialPort:
    """A serial port that its host listens for, at whatever address it thinks fit."""
    backing = vim.vm.device.VirtualSerialPort.URIBackingInfo(serviceURI=f"tcp://:{port}", direction="server")
    return vim.vm.device.VirtualSerialPort(key=-5000, backing=backing, yieldOnPoll=True)
