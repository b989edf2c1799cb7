"""Lab files: which hosts there are, how they are reached, what may be used of them.

The classes named ``...File`` are what a file says; :class:`Lab` and :class:`Host` are what the rest of the harness
gets. A host's section holds the lab's own keys and its backend's settings side by side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from harness.backends.model import NetworkKind, NetworkSpec
from harness.backends.registry import HostSettings
from harness.core import Size
from harness.core.config import StrictModel
from harness.core.fields import Bytes, Duration
from harness.core.secrets import Secret
from harness.lab import sizing
from harness.lab.database import Database
from harness.lab.fields import Address, AddressRange, MacRange, Name, Subnet

THIS_MACHINE = "this-machine"
_RESERVED = {"and", "or", "not", "none", "true", "false"}  # words of pytest's -m and -k expressions


class Capacity(StrictModel):
    """What guests may use of a host together, over all runs. What is left out is read from this machine for hosts
    that live on it, and unlimited for others.
    """

    vcpus: int | None = Field(default=None, ge=1)
    """vCPUs of all guests together."""
    memory: Bytes | None = None
    """Memory of all guests together, for example `8 GiB`."""
    guests: int | None = Field(default=None, ge=1)
    """Guests at once."""


class Roles(StrictModel):
    """Which of the lab's networks a host's guests are plugged into. A role left out takes the network of that name."""

    management: Name | None = None
    """The first NIC: where the controller reaches guests by ssh."""
    peers: Name | None = None
    """The second and further NICs: where guests meet each other."""


class Jump(StrictModel):
    """An ssh host that guests are reached through."""

    address: Annotated[str, StringConstraints(min_length=1)]
    """Name or address of the jump host."""
    port: int = Field(default=22, ge=1, le=65535)
    """Its ssh port."""
    user: Annotated[str, StringConstraints(min_length=1)]
    """The account there."""
    identity: Path | None = None
    """The private key file; without one, the ssh agent's keys."""
    known_hosts: Path = Path("~/.ssh/known_hosts")
    """The file that holds the jump host's key: it is always verified."""


Percent = Annotated[float, Field(gt=0, le=100)]
"""A share in percent."""

Reach = Literal["direct", "forward", "jump"]


class Network(StrictModel):
    """A network that guests are plugged into."""

    kind: NetworkKind
    """What it is on the host: `user` (QEMU's own, nothing gets out), `switch` (the harness's L2 switch on loopback, or
    a named virtual switch), `bridge` (a bridge of the host), `network` (libvirt network or port group)."""
    source: str = ""
    """The host's word for it: bridge, switch, port group or libvirt network."""
    vlan: int | None = Field(default=None, ge=1, le=4094)
    """VLAN id of the access port; left out: untagged."""
    subnet: Subnet | None = None
    """The IPv4 network, for example `192.0.2.0/24`. Needed unless `dhcp: true`; a `user` network has 10.0.2.0/24."""
    addresses: AddressRange | None = None
    """The addresses the harness may give to guests, for example `192.0.2.100-192.0.2.199`; left out: the whole subnet
    but its first two and its last address."""
    macs: MacRange | None = None
    """The MAC addresses the harness may give to NICs, as a prefix (`52:54:00:77`) or a range; locally administered.
    Left out: a range of 65,536 of this controller and network."""
    gateway: Address | None = None
    """The way out, where guests may have one; left out: there is none."""
    dns: tuple[Address, ...] = ()
    """Name servers for guests."""
    mtu: int = Field(default=1500, ge=576, le=65535)
    """MTU in bytes."""
    dhcp: bool = False
    """Whether guests get their address from a DHCP server of this network instead of from the harness."""
    reach: Reach | None = None
    """How the controller reaches guests: `direct`, by `forward` (a port on the controller's loopback, `user` networks
    only) or through a `jump` host. Left out: `forward` for `user`, `jump` where a jump host is given, else `direct`."""
    jump: Jump | None = None
    """The jump host for `reach: jump`."""
    nat: Subnet | None = None
    """A subnet of the same size in which guests appear to the controller, address by address (one-to-one NAT), for
    example `198.51.100.0/24`: it reaches the guest 192.0.2.7 at 198.51.100.7. Left out: at the guest's own address."""
    ssh_port: int = Field(default=22, ge=1, le=65535)
    """The port at which a guest's ssh appears in `nat`; guests themselves always listen on port 22."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind is NetworkKind.USER:
            for key in ("source", "vlan", "gateway", "dhcp"):
                if getattr(self, key):
                    raise ValueError(f"a user network has no {key}: nothing gets out of it")
        elif self.kind is not NetworkKind.SWITCH and not self.source:
            raise ValueError(f"a {self.kind.value} needs a source: its name on the host")
        if self.reach == "forward" and self.kind is not NetworkKind.USER:
            raise ValueError("reach: forward works on user networks only")
        if self.reach == "jump" and self.jump is None:
            raise ValueError("reach: jump needs a jump host under jump:")
        if self.jump is not None and self.reached_by != "jump":
            raise ValueError(f"a jump host is given, but guests are reached {self.reached_by}")
        self._check_addresses()
        self._check_nat()
        return self

    def _check_nat(self) -> None:
        if self.nat is None:
            if self.ssh_port != 22:
                raise ValueError("ssh_port needs nat: guests themselves listen on port 22")
            return
        if self.kind is NetworkKind.USER or self.dhcp or self.network is None:
            raise ValueError("nat needs a subnet whose addresses the harness gives to guests")
        if self.nat.prefixlen != self.network.prefixlen:
            raise ValueError(f"nat {self.nat} and the subnet {self.network} differ in size")

    def _check_addresses(self) -> None:
        if self.network is None:
            if not self.dhcp:
                raise ValueError("needs a subnet, or dhcp: true")
            return
        if self.network.num_addresses < 4:
            raise ValueError(f"the subnet {self.network} is too small for guests")
        if self.addresses and not (self.addresses.first in self.network and self.addresses.last in self.network):
            raise ValueError(f"the addresses {self.addresses} are not all in the subnet {self.network}")
        if self.gateway and self.gateway not in self.network:
            raise ValueError(f"the gateway {self.gateway} is not in the subnet {self.network}")

    @property
    def network(self) -> IPv4Network | None:
        """The subnet; that of slirp for a user network that names none."""
        return self.subnet or (IPv4Network("10.0.2.0/24") if self.kind is NetworkKind.USER else None)

    @property
    def lendable(self) -> AddressRange | None:
        """The addresses guests may get; None where DHCP gives them."""
        if self.addresses or self.dhcp or self.network is None:
            return self.addresses
        if self.kind is NetworkKind.USER:  # every guest has a network of its own: slirp's usual first guest address
            return AddressRange(self.network[15], self.network[15])
        return AddressRange(self.network[2], self.network[-2])

    @property
    def private(self) -> bool:
        """Whether every guest has this network to itself, so that addresses need not differ."""
        return self.kind is NetworkKind.USER

    @property
    def closed(self) -> bool:
        """Whether no one but our own guests can be on it, so that leases alone prevent duplicates."""
        return self.kind is NetworkKind.USER or (self.kind is NetworkKind.SWITCH and not self.source)

    @property
    def reached_by(self) -> Reach:
        """How the controller reaches guests here."""
        if self.reach:
            return self.reach
        if self.kind is NetworkKind.USER:
            return "forward"
        return "jump" if self.jump else "direct"

    def outside(self, address: IPv4Address) -> IPv4Address:
        """Where the controller finds the guest that has ``address``: there, or at the same place of :attr:`nat`."""
        if self.nat is None or self.network is None:
            return address
        return self.nat[int(address) - int(self.network.network_address)]

    def interface(self, address: IPv4Address) -> IPv4Interface:
        """``address`` with this network's prefix length."""
        length = self.network.prefixlen if self.network else 32
        return IPv4Interface(f"{address}/{length}")

    def spec(self, name: str) -> NetworkSpec:
        """What a backend is told about it."""
        return NetworkSpec(name, self.kind, self.source, self.vlan, self.mtu)


class Limits(StrictModel):
    """How long things may last."""

    expiry: Duration = timedelta(hours=24)
    """A run's things may be reaped by other controllers when it has neither renewed nor ended for this long."""
    heartbeat: Duration = timedelta(seconds=30)
    """How often a run says that it lives."""
    wait: Duration = timedelta(minutes=30)
    """How long a test waits for capacity, a quiet host, or an address before it is a lab error."""
    test: Duration = timedelta(hours=2)
    """How long a test may take, set-up included, where it has no marker `deadline`; then it fails, and alone."""
    teardown: Duration = timedelta(minutes=15)
    """How long a test's teardown may take."""
    guest: Duration = timedelta(minutes=12)
    """How long a test waits for a guest that answers, the time that a release takes to install not counted."""
    host: Duration = timedelta(minutes=2)
    """How long a host may take to tell what it is, and whether it is still there after a failure."""
    silence: Duration = timedelta(minutes=5)
    """How long what a process leases in the lab's `database` stays its own when nothing is heard of it; then others may
    have it. A controller's own processes are told dead from alive at once."""
    foreign_load: Percent | None = None
    """How much of a host's processors others may use while a test measures, in percent, over any five seconds; beyond
    it the result is unknown, *not quiet* (docs/spreading.md). Left out: 10, but for twins and emulated guests, where it
    is recorded alone. 100 never spoils a result."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.heartbeat < timedelta(seconds=1):
            raise ValueError("the heartbeat must be at least 1s")
        if self.expiry < 4 * self.heartbeat:
            raise ValueError("the expiry must be at least four heartbeats")
        if self.silence < 4 * self.heartbeat:
            raise ValueError("the silence must be at least four heartbeats")
        return self


class HostFile(StrictModel):
    """A hypervisor host: the keys every host has; its backend's settings stand beside them."""

    pool: Name | None = None
    """The pool it belongs to: hosts of a pool are interchangeable, a test runs on any free one. Left out: its own."""
    capacity: Capacity = Capacity()
    """What guests may use of it."""
    domain: Name | None = None
    """What shares processors and memory. Left out: `this-machine` for hosts that live on this machine, else the host's
    own name. Hosts that share hardware name the same domain."""
    networks: Roles = Roles()
    """Which networks its guests are plugged into."""
    foreign_load: Percent | None = None
    """As `foreign_load` under `limits`, for this host alone."""
    proxy: Annotated[str, StringConstraints(pattern=r"^(https?|socks5h?)://[^/@\s]+/?$")] | None = None
    """The proxy for reaching the host, for example `http://proxy.example:3128`, where the backend can use one. No other
    is used for it: proxies of the environment are for downloads."""

    @field_validator("pool", "domain")
    @classmethod
    def _not_a_word_of_expressions(cls, value: str | None) -> str | None:
        return unreserved(value) if value else value


def unreserved(name: str) -> str:
    """``name``, unless pytest's marker expressions give it another meaning.

    Raises:
        ValueError: they do.
    """
    if name in _RESERVED:
        raise ValueError(f"{name!r} is a word of pytest's -m expressions; choose another name")
    return name


@dataclass(frozen=True, slots=True)
class Host:
    """One hypervisor host of a lab.

    Args:
        name: the lab's word for it.
        backend: the driver's name.
        pool: the pool it belongs to.
        settings: what the backend reads.
        capacity: what guests may use of it.
        domain: what it shares processors and memory with.
        management: the lab's name of the network of the first NIC.
        peers: that of further NICs, None where the host has none.
        networks: the networks by name.
        proxy: the proxy to reach the host by, if any.
        twin: the section of the lab file that one twin stands in for; None: the host is real.
        foreign_load: percent of its processors that others may use while a test measures; None: the lab does not say.
    """

    name: str
    backend: str
    pool: str
    settings: HostSettings
    capacity: Capacity
    domain: str
    management: str
    peers: str | None
    networks: dict[str, Network] = field(repr=False)
    proxy: str | None = None
    twin: str | None = None
    foreign_load: float | None = None

    @property
    def embedded(self) -> bool:
        """Whether the hypervisor lives inside this process."""
        return self.settings.embedded

    @property
    def limits(self) -> tuple[int | None, Size | None, int | None]:
        """vCPUs, memory and guests that may be leased; None: no limit. This machine's own where the lab says none."""
        local = self.domain == THIS_MACHINE
        return (
            self.capacity.vcpus or (sizing.lendable_vcpus() if local else None),
            self.capacity.memory or (sizing.lendable_memory() if local else None),
            self.capacity.guests,
        )

    def network_of(self, nic: int) -> str:
        """The lab's name of the network that NIC number ``nic`` (from 0) is plugged into."""
        return self.management if nic == 0 or self.peers is None else self.peers


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab file, read and checked.

    Args:
        name: the file's name without its ending.
        path: the file.
        hosts: by name.
        networks: by name.
        limits: how long things may last.
        text: the file as it was read: the journal keeps it, so that hosts can be reaped when the file is gone.
        key: what the tokens of its runs are made with; None: a key of this controller's own.
        calibration: the file of its own limits and sizes; None: it has none.
        known_issues: the file of failures that are known; None: it names none.
        signing_key: the ssh key that its evidence is signed with; None: it has none.
        database: what controllers share; None: this controller has the lab to itself.
    """

    name: str
    path: Path
    hosts: dict[str, Host]
    networks: dict[str, Network]
    limits: Limits
    text: str = field(default="", repr=False)
    key: Secret | None = None
    calibration: Path | None = None
    known_issues: Path | None = None
    signing_key: Path | None = None
    database: Database | None = None

    def pools(self) -> dict[str, tuple[Host, ...]]:
        """The hosts of each pool, in the file's order."""
        pools: dict[str, tuple[Host, ...]] = {}
        for host in self.hosts.values():
            pools[host.pool] = (*pools.get(host.pool, ()), host)
        return pools


def slug(text: str) -> str:
    """``text`` as a :data:`~harness.lab.fields.Name`."""
    return re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-.") or "lab"
