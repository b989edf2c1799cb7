"""An Ethernet switch in user space: guests of different QEMU processes share an L2 network without root or bridges.

A port is a UDP address on loopback (QEMU: ``-netdev socket,udp=SWITCH,localaddr=PORT``; libvirt:
``<interface type='udp'>``); one datagram is one Ethernet frame. The switch learns MAC addresses, knows VLANs and MTUs,
counts, and plants faults: a cut cable, lost frames. It sends to plugged ports alone, and those are on loopback.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from dataclasses import dataclass, field

from harness.qemu.errors import QemuError

Address = tuple[str, int]

_HEADER = 14
_TAG = 4
_DOT1Q = b"\x81\x00"
_LARGEST = 65536
_TABLE_LIMIT = 4096  # a guest may invent source addresses without end
_HEARD_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Plug:
    """How a port is set up.

    Args:
        network: ports of one network see each other, others never.
        vlan: access VLAN: the guest's frames are untagged, tagged ones are dropped; None: untagged and tagged frames
            pass as they are, subject to ``trunk``.
        trunk: for ``vlan=None``, the VLAN ids that pass tagged; None: all.
        mtu: longest payload in bytes, both ways.
        native: for ``vlan=None``, the VLAN that untagged frames belong to, both ways, whatever ``trunk`` says (IEEE
            802.1Q calls it PVID); 0: none, as on a segment without VLANs.
    """

    network: str
    vlan: int | None = None
    trunk: frozenset[int] | None = None
    mtu: int = 1500
    native: int = 0

    @property
    def untagged(self) -> int:
        """The VLAN (0: none) of frames that cross the port without a tag."""
        return self.native if self.vlan is None else self.vlan

    def carries(self, vlan: int) -> bool:
        """Whether frames of this VLAN (0: none) may cross the port."""
        if self.vlan is not None or vlan == 0:
            return vlan == self.untagged
        return vlan == self.native or self.trunk is None or vlan in self.trunk


@dataclass(slots=True)
class Counters:
    """Frames since the port was plugged, as the switch sees it: ``received`` came from the guest."""

    received: int = 0
    sent: int = 0
    dropped_cut: int = 0
    dropped_loss: int = 0
    dropped_vlan: int = 0
    dropped_mtu: int = 0


@dataclass(slots=True)
class _Port:
    plug: Plug
    cut: bool = False
    loss: float = 0.0
    heard: dict[tuple[str, str], None] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)


class Switch:
    """The switch itself: feed it by :meth:`pump` whenever its socket is readable.

    Args:
        address: UDP address on loopback to bind; port 0 takes a free one.
        chance: decides planted losses.

    Raises:
        QemuError: the address is taken, or not on loopback.
    """

    def __init__(self, address: Address = ("127.0.0.1", 0), chance: random.Random | None = None) -> None:
        _require_loopback(address)
        self._ports: dict[Address, _Port] = {}
        self._learned: dict[tuple[str, int, bytes], Address] = {}
        self._chance = chance or random.Random()  # noqa: S311 - planted faults, no secrets
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        try:
            self.socket.bind(address)
        except OSError as error:
            self.socket.close()
            raise QemuError(f"the switch cannot bind {address[0]}:{address[1]}: {error}") from error

    @property
    def address(self) -> Address:
        """Where ports send their frames."""
        host, port = self.socket.getsockname()
        return host, port

    def plug(self, port: Address, plug: Plug) -> None:
        """Connect a port, or set it up anew; counters and planted faults of one already there stay."""
        _require_loopback(port)
        if port in self._ports:
            self._ports[port].plug = plug
            self._ports[port].heard.clear()
            self._forget(port)
        else:
            self._ports[port] = _Port(plug)

    def unplug(self, port: Address) -> None:
        """Disconnect a port; no-op when absent."""
        self._ports.pop(port, None)
        self._forget(port)

    def cut(self, port: Address, cut: bool) -> None:
        """Plant or mend a broken cable: nothing passes either way, while the guest's carrier stays up."""
        self._port(port).cut = cut

    def lose(self, port: Address, fraction: float) -> None:
        """Plant loss: this fraction of frames (0..1) vanishes, either way."""
        if not 0 <= fraction <= 1:
            raise QemuError(f"a loss of {fraction} is no fraction between 0 and 1")
        self._port(port).loss = fraction

    def counters(self, port: Address) -> Counters:
        """What has crossed a port so far."""
        return self._port(port).counters

    def heard(self, port: Address) -> list[tuple[str, str]]:
        """MAC and IP address of whoever announced itself on a port, by ARP or by IPv6 neighbour discovery."""
        return list(self._port(port).heard)

    def ports(self) -> dict[Address, Plug]:
        """All plugged ports."""
        return {address: port.plug for address, port in self._ports.items()}

    def pump(self, most: int = 512) -> None:
        """Forward the frames that wait on the socket, at most ``most``: the caller has other things to do as well."""
        for _ in range(most):
            try:
                frame, sender = self.socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # ICMP from a port whose guest is off: of no concern to the others
            self._forward(frame, sender)

    def close(self) -> None:
        """Let go of the socket."""
        self.socket.close()

    def _port(self, address: Address) -> _Port:
        try:
            return self._ports[address]
        except KeyError:
            raise QemuError(f"{address[0]}:{address[1]} is not plugged into the switch") from None

    def _forget(self, port: Address) -> None:
        self._learned = {key: value for key, value in self._learned.items() if value != port}

    def _forward(self, frame: bytes, sender: Address) -> None:
        source = self._ports.get(sender)
        if source is None or len(frame) < _HEADER:
            return
        source.counters.received += 1
        vlan, bare = _untagged(frame)
        if vlan and source.plug.vlan is not None:  # an access port takes untagged frames alone
            source.counters.dropped_vlan += 1
            return
        vlan = vlan or source.plug.untagged
        if not source.plug.carries(vlan):
            source.counters.dropped_vlan += 1
            return
        if self._faulty(source) or _too_long(source, bare):
            return
        if len(source.heard) < _HEARD_LIMIT and (announced := _announced(bare)):
            source.heard[announced] = None
        network = source.plug.network
        if not bare[6] & 1 and len(self._learned) < _TABLE_LIMIT:
            self._learned[network, vlan, bare[6:12]] = sender
        known = None if bare[0] & 1 else self._learned.get((network, vlan, bare[:6]))
        targets = [known] if known else list(self._ports)
        for target in targets:
            port = self._ports.get(target)
            if port and target != sender and port.plug.network == network and port.plug.carries(vlan):
                self._deliver(bare, vlan, target, port)

    def _deliver(self, bare: bytes, vlan: int, target: Address, port: _Port) -> None:
        if self._faulty(port) or _too_long(port, bare):
            return
        tag = b"" if vlan == port.plug.untagged else _DOT1Q + vlan.to_bytes(2, "big")
        try:
            self.socket.sendto(bare[:12] + tag + bare[12:], target)
        except (BlockingIOError, ConnectionRefusedError):
            return  # a full or absent receiver loses frames, as on any Ethernet
        port.counters.sent += 1

    def _faulty(self, port: _Port) -> bool:
        if port.cut:
            port.counters.dropped_cut += 1
            return True
        if port.loss and self._chance.random() < port.loss:
            port.counters.dropped_loss += 1
            return True
        return False


def _too_long(port: _Port, bare: bytes) -> bool:
    if len(bare) - _HEADER <= port.plug.mtu:
        return False
    port.counters.dropped_mtu += 1
    return True


def _announced(bare: bytes) -> tuple[str, str] | None:
    """The sender of an ARP packet (RFC 826), or of a neighbour solicitation or advertisement (RFC 4861)."""
    kind = bare[12:14]
    if kind == b"\x08\x06" and len(bare) >= 42 and any(bare[28:32]):
        return bare[22:28].hex(":"), str(ipaddress.IPv4Address(bare[28:32]))
    if kind == b"\x86\xdd" and len(bare) >= 78 and bare[20] == 58 and bare[54] in {135, 136} and any(bare[22:38]):
        return bare[6:12].hex(":"), str(ipaddress.IPv6Address(bare[22:38]))
    return None


def _untagged(frame: bytes) -> tuple[int, bytes]:
    """A frame's VLAN id (0: none) and the frame without its 802.1Q tag; priority bits are not kept."""
    if frame[12:14] != _DOT1Q or len(frame) < _HEADER + _TAG:
        return 0, frame
    return int.from_bytes(frame[14:16], "big") & 0xFFF, frame[:12] + frame[16:]


def _require_loopback(address: Address) -> None:
    if not ipaddress.ip_address(address[0]).is_loopback:
        raise QemuError(f"{address[0]} is not on loopback; the switch reaches nothing else")
