"""No way out: a guest that tries as hard as root can reaches nothing but what the controller opened to it."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from harness.backends.model import NetworkKind
from harness.guest import Guest

# slirp's own addresses: the host as guests see it, and its name server (QEMU, "-netdev user").
HOST, NAMES, HOST6 = IPv4Address("10.0.2.2"), IPv4Address("10.0.2.3"), "fec0::2"

CONNECT = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as probe:
    probe.settimeout(3)
    try:
        probe.connect((address, port))
        probe.sendall(b"out")
        print("connected")
    except OSError as error:
        print("no:", error)
"""

ASK = """
import socket, sys
query = bytes.fromhex("1234010000010000000000000377777707") + b"example" + bytes.fromhex("03636f6d0000010001")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.settimeout(3)
    try:
        probe.sendto(query, (sys.argv[1], int(sys.argv[2])))
        probe.recv(512)
        print("connected")
    except OSError as error:
        print("no:", error)
"""


class Listener:
    """A server on the controller that counts who comes."""

    def __init__(self, family, address):
        self.came = []
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.bind((address, 0))
        self.socket.listen()
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        """Until it is closed."""
        while True:
            try:
                peer, who = self.socket.accept()
            except OSError:
                return
            self.came.append(who)
            peer.close()

    def close(self):
        """And let the thread end."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


@contextmanager
def listening(family, address):
    """A listener for the length of a block."""
    listener = Listener(family, address)
    try:
        yield listener
    finally:
        listener.close()


@dataclass(frozen=True)
class Routed:
    """A guest with routes to where slirp would let it out.

    Args:
        guest: the guest.
        host: slirp's own address: the controller, as the guest sees it.
        names: slirp's name server.
    """

    guest: Guest
    host: str
    names: str


@pytest.fixture
def routed(site, guest):
    """The guest with every route out that root can add on its first NIC; they go again afterwards."""
    if guest.machine.spec.nics[0].network.kind is NetworkKind.USER:
        host, names = HOST, NAMES
    elif site.host.twin:
        # Twins give slirp the end of the subnet: guests have the rest.
        host = site.lab.networks[site.host.management].subnet.broadcast_address - 1
        names = host - 1
    else:
        pytest.skip("this network is the lab's own, with the way out that the lab gives it")
    name = guest.nics.by_mac(guest.machine.spec.nics[0].mac).name
    guest.run(["ip", "route", "replace", "default", "via", str(host), "dev", name])
    guest.run(["ip", "-6", "address", "replace", "fec0::77/64", "dev", name, "nodad"])
    guest.run(["ip", "-6", "route", "replace", "default", "via", HOST6, "dev", name])
    yield Routed(guest, str(host), str(names))
    guest.run(["ip", "route", "del", "default", "via", str(host)], check=False)
    guest.run(["ip", "-6", "route", "del", "default", "via", HOST6], check=False)
    guest.run(["ip", "-6", "address", "del", "fec0::77/64", "dev", name], check=False)


def tried(guest, program, address, port):
    """What became of a try from inside the guest."""
    return guest.run(["python3", "-", address, str(port)], stdin=program.encode()).text.strip()


def test_the_probe_itself_works(guest):
    """It connects to what can be reached: the guest's own ssh server, by both families."""
    assert tried(guest, CONNECT, "127.0.0.1", 22) == "connected"
    assert tried(guest, CONNECT, "::1", 22) == "connected"


def test_the_controllers_loopback_cannot_be_reached(routed):
    """Neither as slirp's host address, nor by IPv6, nor by its own address."""
    own = own_addresses()
    with ExitStack() as stack:
        four = stack.enter_context(listening(socket.AF_INET, "0.0.0.0"))
        six = stack.enter_context(listening(socket.AF_INET6, "::"))
        for address in (routed.host, routed.names, "127.0.0.1", *own):
            assert tried(routed.guest, CONNECT, address, four.port).startswith("no:"), address
        for address in (HOST6, "fec0::3"):
            assert tried(routed.guest, CONNECT, address, six.port).startswith("no:"), address
        assert (four.came, six.came) == ([], [])
        # It is slirp that said no: somebody is there at its address.
        assert "lladdr" in routed.guest.run(["ip", "neigh", "show", routed.host]).text
        with socket.create_connection(("127.0.0.1", four.port), timeout=5):
            pass  # the listener would have noticed


def test_no_name_is_resolved(routed):
    """Slirp's name server would ask the controller's."""
    assert tried(routed.guest, ASK, routed.names, 53).startswith("no:")


def test_the_controllers_ssh_is_not_in_reach(site, routed):
    """Where the controller reaches the guest, the guest does not reach the controller."""
    for port in {22, routed.guest.machine.endpoint(site.deadline()).port}:
        assert tried(routed.guest, CONNECT, routed.host, port).startswith("no:"), port


def test_the_emulator_speaks_to_loopback_alone(site, guest):
    """Every socket of the process that runs the guest: loopback addresses at both ends, whatever the protocol."""
    if not site.sees_processes:
        pytest.skip("the emulator runs on another machine")
    (process,) = site.processes(guest.machine.id)
    guest.run(["true"])
    sockets = sockets_of(process)
    assert any(line.startswith("tcp ") for line in sockets), "the forward of the guest's ssh port was not found"
    assert [line for line in sockets if not is_loopback(line)] == []


def own_addresses():
    """The controller's own IPv4 addresses but loopback: what the kernel would send from."""
    text = Path("/proc/net/fib_trie").read_text()
    found = set(re.findall(r"\|-- ([\d.]+)\n\s+/32 host LOCAL", text))
    return sorted(address for address in found if not address.startswith("127."))


def sockets_of(process):
    """Lines ``protocol local remote`` of a process's internet sockets; addresses in hexadecimal, as in /proc/net."""
    inodes = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        found = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
        if found:
            inodes.add(found[1])
    lines = []
    for protocol in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/{process}/net/{protocol}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in inodes:
                lines.append(f"{protocol} {words[1]} {words[2]}")
    return lines


def is_loopback(line):
    """Whether both ends are loopback; an unconnected remote end (all zero) counts, an unbound local end does not."""
    _, local, remote = line.split()
    return loopback(local) and (loopback(remote) or set(remote.split(":")[0]) == {"0"})


def loopback(end):
    """127.0.0.0/8 or ::1, as /proc/net prints them: 32-bit words in host byte order."""
    address = end.split(":")[0]
    if len(address) == 8:
        return bytes.fromhex(address)[::-1][0] == 127
    return address == "00000000000000000000000001000000" or (
        address.startswith("0000000000000000FFFF0000") and bytes.fromhex(address[24:])[::-1][0] == 127
    )


def test_what_counts_as_loopback_is_told_right():
    """The judge of the test above can say no."""
    assert is_loopback("tcp 0100007F:0016 00000000:0000")
    assert not is_loopback("tcp 00000000:0016 00000000:0000")
    assert not is_loopback("udp 0100007F:0016 0202000A:0035")
    assert is_loopback("tcp6 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000")
    assert not is_loopback("tcp6 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000")
