"""What one guest gets of its own before it exists: name, addresses, keys, machine id, seed. No two guests share any."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self
from uuid import uuid4

from harness.backends.model import DiskSpec, Endpoint, MachineSpec, NicSpec, PublishedImage, Shape
from harness.backends.views import ResourceKind
from harness.core import Deadline
from harness.guest import Identity, Jump, Login
from harness.image import Access, Image, SeedNetwork
from harness.image.keys import KeyPair, generate
from harness.image.seed import SeedNic, SeedSpec, write_seed
from harness.lab.addresses import can_bind
from harness.lab.leases import Lease
from harness.lab.models import Host, Network
from harness.lab.run import Run


@dataclass(frozen=True, slots=True)
class SeedExtra:
    """What a seed carries besides a guest's identity.

    Args:
        files: further files by absolute path in the guest.
        commands: run once at the first boot, as root, before ssh answers; each a list of words.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    commands: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, slots=True)
class Outfit:
    """Everything to create a machine with, and to log in to its guest.

    Args:
        identity: who the guest is.
        spec: what the hypervisor is asked for.
        leases: the addresses, held.
        folder: key and seed on the controller's disk.
    """

    identity: Identity
    spec: MachineSpec
    leases: tuple[Lease, ...]
    folder: Path


class Outfitter:
    """Makes outfits for the guests of one host.

    Args:
        run: whose addresses are leased.
        host: where the guests will be.
        image: what they boot.
        folder: where keys and seeds are kept, one folder a guest.
    """

    def __init__(self, run: Run, host: Host, image: Image, folder: Path) -> None:
        self._run = run
        self._host = host
        self._image = image
        self._folder = folder

    def make(
        self, kind: str, shape: Shape, published: PublishedImage, deadline: Deadline, extra: SeedExtra | None = None
    ) -> Outfit:
        """A new outfit.

        Args:
            kind: what the guest's name begins with.
            shape: what was asked for.
            published: the image as the host holds it.
            deadline: for leasing addresses.
            extra: what the seed carries besides.

        Raises:
            LabError: no address is free until the deadline; nothing of it is left then.
        """
        name = f"{kind}-{secrets.token_hex(4)}"
        folder = self._folder / name
        machine_id = secrets.token_hex(16)
        with ExitStack() as undo:
            leases = undo.enter_context(_Leases())
            with self._run.ledger(self._host).creating(ResourceKind.SEED, name) as creation:
                undo.callback(self.drop, name)
                folder.mkdir(parents=True, mode=0o700)
                creation.made(name)
            nics = tuple(self._nic(name, at, shape, leases, deadline) for at in range(shape.nics))
            login, host_key, client = self._keys(folder, name)
            seed = None
            if host_key and client:
                seed = write_seed(
                    SeedSpec(
                        instance_id=f"interop-{uuid4()}",
                        hostname=name,
                        nics=tuple(self._seed_nic(at, nic) for at, nic in enumerate(nics)),
                        host_key=host_key,
                        authorized_keys=(client.public,),
                        machine_id=machine_id,
                        user=self._image.user,
                        extra_files=extra.files if extra else {},
                        commands=tuple(tuple(words) for words in extra.commands) if extra else (),
                    ),
                    folder / "seed.iso",
                )
            spec = MachineSpec(
                name=name,
                image=published,
                shape=shape,
                nics=nics,
                seed=seed,
                owner=self._run.owner,
                disks=tuple(
                    DiskSpec(f"data{at}", size, shape.data_sectors) for at, size in enumerate(shape.data_disks)
                ),
                annotations={"guest": name, "image": self._image.digest},
            )
            undo.pop_all()
        return Outfit(Identity(name, machine_id, nics, login), spec, tuple(leases.held), folder)

    def drop(self, name: str) -> None:
        """Forget a guest's key and seed. Idempotent."""
        shutil.rmtree(self._folder / name, ignore_errors=True)
        self._run.ledger(self._host).gone(ResourceKind.SEED, name)

    def again(self, identity: Identity, deadline: Deadline) -> tuple[Lease, ...]:
        """Lease the very addresses that a guest made earlier has.

        Raises:
            LabError: one of them is somebody else's now.
        """
        with ExitStack() as undo:
            leases = undo.enter_context(_Leases())
            for at, nic in enumerate(identity.nics):
                name = nic.network.name
                network = self._host.networks[name]
                key = f"{identity.name}/{at}"
                leases.add(self._run.addresses.mac(name, network, key, deadline, wanted=nic.mac))
                if nic.address:
                    address = nic.address.partition("/")[0]
                    leases.add(self._run.addresses.ip(network, key, deadline, wanted=address, closed=self._closed))
                if nic.forward and network.nat is None:
                    leases.add(self._forward(nic.forward, deadline))
            undo.pop_all()
        return tuple(leases.held)

    def spare(self, guest: str, at: int, shape: Shape, deadline: Deadline) -> tuple[NicSpec, tuple[Lease, ...]]:
        """A NIC to attach later, with addresses of its own, in the network that the guest's NIC number ``at`` is in.

        Raises:
            LabError: no address is free until the deadline.
        """
        with ExitStack() as undo:
            leases = undo.enter_context(_Leases())
            nic = self._nic(guest, at, shape, leases, deadline)
            undo.pop_all()
        return nic, tuple(leases.held)

    @property
    def _closed(self) -> bool:
        return self._host.twin is not None

    def _forward(self, there: Endpoint, deadline: Deadline) -> Lease:
        def taken(_: str) -> str | None:
            return None if can_bind(there.address, there.port) else f"{there} (something listens there)"

        return self._run.leases.one_of("forward", "loopback", [there.address], deadline, taken=taken)

    def login(self, folder: Path, host_key: str | None) -> Login:
        """How to log in to a guest whose key is kept in ``folder``."""
        network = self._host.networks[self._host.network_of(0)]
        key = folder / "key" if self._image.access is Access.CLOUD_INIT else self._image.private_key
        return Login(self._image.user, key or folder / "key", host_key, _jump(network))

    def _keys(self, folder: Path, name: str) -> tuple[Login, KeyPair | None, KeyPair | None]:
        if self._image.access is Access.READY:
            return self.login(folder, None), None, None
        host_key, client = generate(), generate(f"interop {name}")
        with os.fdopen(os.open(folder / "key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(client.private)
        return self.login(folder, host_key.public), host_key, client

    def _nic(self, name: str, at: int, shape: Shape, leases: _Leases, deadline: Deadline) -> NicSpec:
        role = self._host.network_of(at)
        network = self._host.networks[role]
        key = f"{name}/{at}"
        within = self._host.settings.macs
        mac = leases.add(self._run.addresses.mac(role, network, key, deadline, within=within))
        address, forward = None, None
        if self._image.network is SeedNetwork.SEED:
            lent = leases.add(self._run.addresses.ip(network, key, deadline, closed=self._closed))
            if lent:
                address = str(network.interface(IPv4Address(lent.value)))
                if at == 0 and network.nat is not None:
                    forward = Endpoint(str(network.outside(IPv4Address(lent.value))), network.ssh_port)
        if at == 0 and network.reached_by == "forward":
            lease, forward = self._run.addresses.forward(key, deadline)
            leases.add(lease)
        return NicSpec(
            mac=mac.value if mac else "",
            network=network.spec(role),
            kind=shape.nic_kind,
            address=address,
            forward=forward,
        )

    def _seed_nic(self, at: int, nic: NicSpec) -> SeedNic:
        network = self._host.networks[nic.network.name]
        first = at == 0
        return SeedNic(
            mac=nic.mac,
            address=nic.address,
            gateway=str(network.gateway) if first and network.gateway else None,
            dns=tuple(str(server) for server in network.dns) if first else (),
            mtu=network.mtu if network.mtu != 1500 else None,
            dhcp=network.dhcp or self._image.network is SeedNetwork.DHCP,
        )


class _Leases:
    """Leases that go back together when an outfit cannot be completed."""

    def __init__(self) -> None:
        self.held: list[Lease] = []

    def add(self, lease: Lease | None) -> Lease | None:
        if lease is not None:
            self.held.append(lease)
        return lease

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for lease in self.held:
            lease.release()


def _jump(network: Network) -> Jump | None:
    if network.jump is None:
        return None
    jump = network.jump
    return Jump(Endpoint(jump.address, jump.port), jump.user, jump.known_hosts.expanduser(), jump.identity)
