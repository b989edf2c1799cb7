"""One host under contract: machines and guests made for the tests, and taken away when they are through."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from harness.backends import registry
from harness.backends.capabilities import Capability
from harness.backends.model import DiskSpec, Endpoint, MachineSpec, NicSpec, PublishedImage, Shape
from harness.backends.protocol import Machine
from harness.backends.views import MachineView, Owned
from harness.core import Deadline, MiB, Size
from harness.guest import Guest, Identity, Login
from harness.image.keys import KeyPair, generate
from harness.image.model import Image
from harness.image.seed import SeedNic, SeedSpec, write_seed
from harness.lab import Host, Lab, Lease, Run
from harness.lab.connect import scratch
from harness.lab.twins import Twin, find, settings_of
from tests.contract.backends import Column
from tests.contract.ledger import Witness
from tests.contract.observing import Log, observed_host

SMALL = Shape(vcpus=1, memory=Size(256 * MiB))
"""A machine that nobody waits for to boot."""

BOOT = timedelta(minutes=8)
"""How long a guest may take to boot: a minute is usual under emulation, a busy machine takes several."""

CLEAN = "contract-clean"
"""The memory checkpoint a shared guest is brought back to."""


class Site:
    """A host, this session's run on it, and everything made there.

    Args:
        lab: the lab.
        host: the host under contract.
        column: what no protocol says about its backend.
        run: the owner of everything made.
        folder: seeds and keys.
        find_image: gives the guest image when the first machine is asked for.
    """

    def __init__(
        self, lab: Lab, host: Host, column: Column, run: Run, *, folder: Path, find_image: Callable[[], Image]
    ) -> None:
        self.lab = lab
        self.host = host
        self.column = column
        self.run = run
        self.folder = folder
        self.log = Log()
        self.witness: Witness = Witness(run.ledger(host))
        self._find_image = find_image
        self._numbers = itertools.count(1)
        self._leases: dict[str, list[Lease]] = {}
        self._machines: dict[str, Machine] = {}
        self._login_key = self._key("login")

    # The host.

    @cached_property
    def hypervisor(self) -> Any:
        """The connection that tests share."""
        return self.connect()

    def connect(self) -> Any:
        """A connection of its own."""
        name, run = self.host.name, self.run
        context = registry.Context(name, run.owner, self.witness, scratch(self.host), self.image, genuine=run.genuine)
        settings = settings_of(self.host, self.lab.path, self.run.id)
        return observed_host(registry.find(self.host.backend).connect(settings, context), self.log)

    def reconnect(self) -> None:
        """Let go of the shared connection; the next use makes a new one, with the present ledger."""
        if "hypervisor" in self.__dict__:
            self.hypervisor.close()
            del self.__dict__["hypervisor"]

    @cached_property
    def image(self) -> Image:
        """The image all guests come from."""
        return self._find_image()

    @cached_property
    def published(self) -> PublishedImage:
        """The image as the host has it."""
        return self.hypervisor.publish(self.image, self.deadline(1800))

    def can(self, capability: Capability, shape: Shape = SMALL) -> bool:
        """Whether the host says so."""
        return capability in self.hypervisor.capabilities(shape)

    def owned(self) -> list[Owned]:
        """What the host shows as this run's."""
        return list(self.hypervisor.owned(self.deadline(), self.run.id))

    def handles(self) -> set[str]:
        """The handles of :meth:`owned`."""
        return {thing.handle for thing in self.owned()}

    @staticmethod
    def deadline(seconds: float = 120) -> Deadline:
        """The usual bound of one verb; generous, since it only ends what hangs."""
        return Deadline.after(seconds)

    @property
    def service(self) -> str:
        """The systemd unit of the integration service that answers this host."""
        return (self.host.twin and self.column.twin_service) or self.column.service

    @property
    def sees_processes(self) -> bool:
        """Whether guests of this host are processes of this controller, and can be told apart."""
        return self.column.processes is not None and self.host.settings.local

    def processes(self, machine: str) -> list[int]:
        """The processes on this controller that run a machine."""
        assert self.column.processes is not None
        return self.column.processes(self, machine)

    def record(self) -> Twin | None:
        """The twin that stands in for this host, if one does."""
        return find(self.lab.path, self.host.twin, self.run.id) if self.host.twin else None

    # Machines.

    def name(self, word: str = "machine") -> str:
        """A name nobody else has."""
        return f"contract-{self.run.id}-{word}-{next(self._numbers)}"

    def order(self, shape: Shape = SMALL, *, word: str = "machine", **changes: Any) -> tuple[MachineSpec, Identity]:
        """Everything a machine of this shape needs, leased and written: its spec, and who its guest will be."""
        name = self.name(word)
        leases = [
            self.run.leases.capacity(
                self.host,
                self.deadline(1800),
                vcpus=max(shape.vcpus, shape.max_vcpus or 0),
                memory=max(shape.memory, shape.max_memory or Size(0)),
            )
        ]
        nics = tuple(self.nic(name, index, leases) for index in range(shape.nics))
        identity, seed = self._identity(name, nics)
        disks = tuple(DiskSpec(f"data{at}", size, shape.data_sectors) for at, size in enumerate(shape.data_disks))
        values: dict[str, Any] = {
            "name": name,
            "image": self.published,
            "shape": shape,
            "nics": nics,
            "seed": seed,
            "owner": self.run.owner,
            "disks": disks,
        }
        spec = MachineSpec(**(values | changes))
        self._leases[spec.name] = leases
        return spec, identity

    def create(self, shape: Shape = SMALL, **changes: Any) -> Any:
        """A machine that is off and was never on."""
        return self.make(self.order(shape, **changes)[0])

    def make(self, spec: MachineSpec) -> Any:
        """The machine of an order."""
        machine = self.hypervisor.create(spec, self.deadline())
        self._machines[machine.id] = machine
        return machine

    def destroy(self, machine: Machine) -> None:
        """Take a machine away, and give back what was leased for it."""
        machine.destroy(self.deadline())
        self._machines.pop(machine.id, None)
        for lease in self._leases.pop(machine.spec.name, []):
            lease.release()

    def forget(self, spec: MachineSpec) -> None:
        """Give back what was leased for a machine that never came to be, or is gone."""
        for lease in self._leases.pop(spec.name, []):
            lease.release()

    def nic(self, key: str, index: int = 0, leases: list[Lease] | None = None, **changes: Any) -> NicSpec:
        """A NIC with a leased MAC and address, plugged in where a guest's NIC of this number belongs."""
        held = [] if leases is None else leases
        network_name = self.host.network_of(index)
        network = self.host.networks[network_name]
        within = self.host.settings.macs
        mac = self.run.addresses.mac(network_name, network, f"{key} {index}", self.deadline(), within=within)
        held.append(mac)
        closed = self.host.twin is not None
        address = self.run.addresses.ip(network, f"{key} {index}", self.deadline(), closed=closed)
        forward: Endpoint | None = None
        if address is not None:
            held.append(address)
            if network.nat is not None:
                forward = Endpoint(str(network.outside(IPv4Address(address.value))), network.ssh_port)
        if network.reached_by == "forward":
            lease, forward = self.run.addresses.forward(f"{key} {index}", self.deadline())
            held.append(lease)
        values: dict[str, Any] = {
            "mac": mac.value,
            "network": network.spec(network_name),
            "address": str(network.interface(IPv4Address(address.value))) if address else None,
            "forward": forward,
        }
        return NicSpec(**(values | changes))

    # Guests.

    def guest(self, shape: Shape, *, word: str) -> Guest:
        """A guest whose machine is off."""
        spec, identity = self.order(shape, word=word)
        return Guest(self.make(spec), self.hypervisor, self.image, identity)

    def boot(self, guest: Guest) -> Guest:
        """Start it and wait until it is up and idle."""
        guest.machine.start(self.deadline())
        guest.wait_ready(Deadline.after(BOOT))
        guest.settle(Deadline.after(BOOT))
        return guest

    def restore(self, guest: Guest) -> None:
        """Bring a shared guest back to what it was after its boot."""
        machine: Any = guest.machine
        if self.can(Capability.CHECKPOINT_WITH_MEMORY, guest.shape):
            machine.revert(CLEAN, self.deadline())
            self.meet_again(guest)
        else:
            machine.stop(self.deadline())
            self.meet_again(guest, start=True)

    def meet_again(self, guest: Guest, *, start: bool = False) -> None:
        """After a revert, a restore or a new boot: old connections and the old console are void."""
        guest.disconnect()
        guest.console.forget()
        guest.mark_console()
        if start:
            guest.machine.start(self.deadline())
        guest.wait_ready(Deadline.after(BOOT))

    def view(self, machine: Machine) -> MachineView:
        """The host's view, now."""
        return machine.view(self.deadline())

    # The end.

    def close(self) -> list[str]:
        """Take everything away; what could not be, in words."""
        problems = []
        for machine in list(self._machines.values()):
            try:
                self.destroy(machine)
            except Exception as error:  # noqa: BLE001 - the others must go all the same
                problems.append(f"{machine.spec.name}: {error}")
        return problems

    def _identity(self, name: str, nics: tuple[NicSpec, ...]) -> tuple[Identity, Path]:
        host_key = generate()
        machine_id = secrets.token_hex(16)
        private, public = self._login_key
        networks = self.host.networks
        seed = SeedSpec(
            instance_id=name,
            hostname=name,
            machine_id=machine_id,
            nics=tuple(
                SeedNic(
                    nic.mac,
                    nic.address,
                    gateway=str(networks[nic.network.name].gateway or "") or None,
                    dhcp=networks[nic.network.name].dhcp,
                )
                for nic in nics
            ),
            host_key=host_key,
            authorized_keys=(public,),
            user=self.image.user,
        )
        login = Login(self.image.user, private, " ".join(host_key.public.split()[:2]))
        return Identity(name, machine_id, nics, login), write_seed(seed, self.folder / f"{name}.iso")

    def _key(self, name: str) -> tuple[Path, str]:
        key: KeyPair = generate("contract")
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(key.private)
        return path, key.public
