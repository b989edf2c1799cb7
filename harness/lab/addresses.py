"""Addresses for guests: IPv4, MAC, and the loopback addresses where the controller finds them. Leased, and probed.

Which one a guest gets follows from its key, so that the same slot gets the same one while it is free.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv4Address
from pathlib import Path

from harness.backends.model import Endpoint
from harness.core import Deadline
from harness.lab.fields import MacRange
from harness.lab.leases import Lease
from harness.lab.models import Network
from harness.lab.sharing import LabLeases
from harness.lab.store import controller

_TRIES = 4096  # candidates looked at in a large range, from the one that the key points to
_LOOPBACK = (127, 77)
_PORTS = (22, 2222, 22022)  # 22 needs rights, or is the controller's own sshd on all addresses; then the next
_SETTLE = 0.5  # seconds for an address resolution or a refusal to come back


class Addresses:
    """Leases addresses for one process of a run."""

    def __init__(self, leases: LabLeases) -> None:
        self._leases = leases

    def ip(
        self, network: Network, key: str, deadline: Deadline, *, wanted: str | None = None, closed: bool = False
    ) -> Lease | None:
        """An IPv4 address on ``network`` for the guest ``key``; its ``value`` is the bare address.

        On a network that each guest has to itself there is one address and every guest may have it. Where others
        than our guests can be on the network, the address is probed before it is lent.

        Args:
            network: the lab's network.
            key: decides which address is tried first.
            deadline: when to give up.
            wanted: this address and no other (a checkpoint that has it already).
            closed: the host is a twin, so that nobody but our guests can be on any of its networks.

        Returns:
            The lease, or None where DHCP gives addresses.

        Raises:
            LabError: none is free until the deadline.
        """
        options = network.lendable
        if options is None:
            return None
        domain = f"own network of {key}" if network.private else str(network.network)
        names = [wanted] if wanted else _Choice(key, len(options), lambda at: str(options[at]))
        shared = not (network.private or closed or network.closed)
        taken = _prober(network, closed=closed)
        return self._leases.one_of("address", domain, names, deadline, taken=taken, shared=shared)

    def mac(
        self,
        name: str,
        network: Network,
        key: str,
        deadline: Deadline,
        *,
        wanted: str | None = None,
        within: str | None = None,
    ) -> Lease:
        """A MAC address for a NIC on ``network`` (called ``name`` in the lab); unique in the lab.

        Args:
            name: the lab's name of the network.
            network: the lab's network; the addresses it names come before all else.
            key: decides which address is tried first.
            deadline: when to give up.
            wanted: this address and no other.
            within: the addresses that the hypervisor accepts, as ``first-last``; None: any locally administered one.

        Raises:
            LabError: none is free until the deadline.
        """
        options = network.macs or default_macs(name, within)
        names = [wanted] if wanted else _Choice(key, len(options), options.__getitem__)
        shared = not (network.private or network.closed)
        return self._leases.one_of("mac", "all", names, deadline, taken=mac_in_use, shared=shared)

    def forward(self, key: str, deadline: Deadline) -> tuple[Lease, Endpoint]:
        """A loopback address of its own for a guest's ssh port, and the port that can be bound there.

        Port 22 where this process may use it and no server of the controller listens on all addresses, else 2222.

        Raises:
            LabError: none is free until the deadline.
        """
        ports: dict[str, int] = {}

        def taken(address: str) -> str | None:
            port = next((port for port in _PORTS if can_bind(address, port)), None)
            if port is None:
                return f"{address} has no free port of {', '.join(map(str, _PORTS))}"
            ports[address] = port
            return None

        names = _Choice(key, 255 * 254, lambda at: f"{_LOOPBACK[0]}.{_LOOPBACK[1]}.{at // 254}.{at % 254 + 1}")
        lease = self._leases.one_of("forward", "loopback", names, deadline, taken=taken)
        return lease, Endpoint(lease.value, ports[lease.value])


def default_macs(name: str, within: str | None = None) -> MacRange:
    """65,536 addresses that differ by controller and network: locally administered ones, or part of ``within``.

    Two controllers on one network would otherwise lend the same ones.
    """
    digest = hashlib.sha256(f"{controller()} {name}".encode()).digest()
    if within is None:
        return MacRange.parse(f"52:54:{digest[0]:02x}:{digest[1]:02x}")
    whole = MacRange.parse(within)
    first = whole.first + int.from_bytes(digest[:2], "big") % max(1, len(whole) >> 16) * 0x10000
    return MacRange(first, min(whole.last, first + 0xFFFF))


def _prober(network: Network, *, closed: bool) -> Callable[[str], str | None]:
    """What tells that an address of ``network`` is somebody's, who has no lease for it."""
    if network.nat is not None and network.nat.is_loopback:

        def listened_to(address: str) -> str | None:
            there = Endpoint(str(network.outside(IPv4Address(address))), network.ssh_port)
            return None if can_bind(there.address, there.port) else f"{address} (something listens at {there})"

        return listened_to
    if network.closed or closed:
        return _no_one
    if network.nat is not None:
        return lambda address: in_use(str(network.outside(IPv4Address(address))), port=network.ssh_port)
    return in_use


def can_bind(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as QEMU does; a listener still refuses
        try:
            server.bind((address, port))
        except OSError:
            return False
    return True


def in_use(address: str, table: Path = Path("/proc/net/arp"), *, port: int = 22) -> str | None:
    """Who answers at ``address``, as far as this controller can tell: a connection or its refusal, or the ARP table.

    Silence is no proof: a firewall may keep quiet about a host. That is why addresses are leased as well.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(_SETTLE)
        result = probe.connect_ex((address, port))
    if result == 0:
        return f"{address} (answers on port {port})"
    if result == errno.ECONNREFUSED:
        return f"{address} (refuses port {port})"
    mac = next((mac for known, mac in neighbours(table) if known == address), None)
    return f"{address} (is {mac} in the ARP table)" if mac else None


def mac_in_use(mac: str, table: Path = Path("/proc/net/arp")) -> str | None:
    """Which neighbour of this controller has this MAC address, if one does."""
    address = next((address for address, known in neighbours(table) if known == mac), None)
    return f"{mac} (is {address} in the ARP table)" if address else None


def neighbours(table: Path) -> list[tuple[str, str]]:
    """Address and MAC of every complete entry (flag 0x2) of the kernel's ARP table."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    fields = [line.split() for line in lines]
    return [(words[0], words[3].lower()) for words in fields if len(words) >= 4 and int(words[2], 16) & 0x2]


class _Choice(Collection[str]):
    """Names of places in a range, from the one that a key points to, around the end; each made when it is looked at."""

    def __init__(self, key: str, size: int, name: Callable[[int], str]) -> None:
        self._start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % size
        self._size = size
        self._name = name

    def __len__(self) -> int:
        return min(self._size, _TRIES)

    def __iter__(self) -> Iterator[str]:
        return (self._name((self._start + step) % self._size) for step in range(len(self)))

    def __contains__(self, name: object) -> bool:
        return any(name == own for own in self)


def _no_one(_: str) -> None:
    return None
