"""A libvirt host."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

import libvirt

from harness.backends.capabilities import Capability
from harness.backends.kvm import daemon, devices, embedded, foreign, serial
from harness.backends.kvm.abilities import abilities
from harness.backends.kvm.base import HostAccess
from harness.backends.kvm.distant_clock import DistantClock
from harness.backends.kvm.domain import build
from harness.backends.kvm.full_disk import ScarceMachine
from harness.backends.kvm.load import Meter
from harness.backends.kvm.machine import KvmMachine, undefine
from harness.backends.kvm.settings import Settings
from harness.backends.kvm.xml import owner_of, parse, spec_of, text
from harness.backends.model import Firmware, MachineSpec, Ownership, PublishedImage, Shape
from harness.backends.protocol import Machine, Refused
from harness.backends.registry import Context
from harness.backends.views import ClockReading, HostFacts, Owned, ProcessorTimes, ResourceKind
from harness.core import Deadline, InteropError, LabError, Pending, Size, wait_for
from harness.image.model import Image


def open_host(settings: Settings, context: Context) -> KvmHypervisor:
    """See :func:`harness.backends.kvm.connect`."""
    access = (embedded if settings.embedded else daemon).access(settings, context)
    kind = KvmHypervisor
    if settings.local:
        kind = LocalHypervisor
    elif settings.clock:
        kind = DistantHypervisor
    try:
        host = kind(settings, context, access)
    except InteropError:
        access.close()
        raise
    if access.root:
        serial.keep_trimmed(access.root.machines)
    return host


class KvmHypervisor:
    """As :class:`~harness.backends.protocol.Hypervisor`."""

    def __init__(self, settings: Settings, context: Context, access: HostAccess) -> None:
        self._settings = settings
        self._context = context
        self._host = access
        self._facts = self._read_facts(Deadline.after(settings.connect_seconds))
        self._meter = Meter(context.ours)

    @property
    def name(self) -> str:
        """The lab's name of the host."""
        return self._context.host

    def facts(self, deadline: Deadline) -> HostFacts:
        """Read once per connection."""
        return self._facts

    def capabilities(self, shape: Shape) -> AbstractSet[Capability]:
        """What this host can do with a machine of this shape."""
        return abilities(shape, self._host.kind)

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """Once by content."""
        self._host.ledger.check()
        places = self._host.places
        if places.published(image.digest, deadline) is not None:
            return places.publish(image, deadline)
        partial = places.partial(image.digest)
        with self._host.ledger.creating(ResourceKind.IMAGE, partial) as creation:
            done = places.publish(image, deadline)
            creation.made(partial)
        self._host.ledger.gone(ResourceKind.IMAGE, partial)  # complete, it belongs to no run
        return done

    def create(self, spec: MachineSpec, deadline: Deadline) -> Machine:
        """Files first, under a mark; then the domain, defined and off."""
        self._host.ledger.check()
        if spec.shape.firmware is Firmware.UEFI and not self._host.kind.uefi:
            raise Refused("the host has no UEFI firmware for guests", host=self.name, operation="create")
        identity = str(uuid.uuid4())
        for nic in spec.nics:  # a network this host has not got is refused before anything is made
            devices.nic(nic, identity, self._host.kind.switch)
        with self._host.ledger.creating(ResourceKind.MACHINE, identity) as creation:
            parts = self._host.places.furnish(identity, spec, deadline)
            domain = text(build(spec, identity, parts, self._host.kind))
            self._define(spec.name, domain, deadline)
            creation.made(identity)
        return self._machine(identity, spec)

    def open(self, machine_id: str, deadline: Deadline) -> Machine:
        """By UUID; the spec comes from the domain's metadata."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE
        description = self._host.connection.call(
            "open", lambda connection: connection.lookupByUUIDString(machine_id).XMLDesc(flags), deadline
        )
        spec = spec_of(parse(description))
        if spec is None:
            raise LabError(f"the machine {machine_id} is not ours", host=self.name, operation="open")
        return self._machine(machine_id, spec)

    def owned(self, deadline: Deadline, run: str | None = None) -> Iterable[Owned]:
        """Domains with our mark, and files with our mark whose domain is not there (yet, or any more)."""

        def domains(connection: Any) -> list[Owned]:
            found = []
            for domain in connection.listAllDomains():
                owner = owner_of(parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
                if owner:
                    found.append(Owned(ResourceKind.MACHINE, domain.UUIDString(), owner, domain.name()))
            return found

        things = {thing.handle: thing for thing in self._host.places.owned(deadline)}
        things |= {thing.handle: thing for thing in self._host.connection.call("owned", domains, deadline)}
        return [thing for thing in things.values() if run is None or (thing.owner and thing.owner.run == run)]

    def remove(self, thing: Owned, deadline: Deadline) -> None:
        """Only what carries our mark, looked up afresh."""
        match thing.kind:
            case ResourceKind.MACHINE:
                self._remove_machine(thing, deadline)
            case ResourceKind.IMAGE:
                self._host.places.withdraw(thing.handle, deadline, whole=thing.owner is None)
            case ResourceKind.CHECKPOINT:
                machine, _, name = thing.handle.partition("/")
                if any(one.handle == machine for one in self.owned(deadline)):
                    KvmMachine.drop_checkpoint(self.open(machine, deadline), name, deadline)  # type: ignore[arg-type]
            case _:
                raise Refused(f"a {thing.kind.value} is nothing this host makes", host=self.name, operation="remove")

    def load(self, deadline: Deadline) -> ProcessorTimes:
        """By libvirt alone, so that it holds for distant hosts, too."""
        return self._host.connection.call("load", self._meter.read, deadline)

    def reaches(self, machine_id: str) -> bool:
        """Whether no other root has it; see :class:`~harness.backends.abandoned.AbandonedMachines`."""
        return self._host.root is None or foreign.holding(self._host.root, machine_id) is None

    def halt(self, machine_id: str, deadline: Deadline) -> bool:
        """One in a root of a process that died; see :class:`~harness.backends.abandoned.AbandonedMachines`."""
        own = self._host.root
        elsewhere = foreign.holding(own, machine_id) if own else None
        return elsewhere is not None and foreign.halt(elsewhere, machine_id, self.name, deadline)

    def close(self) -> None:
        """Drop the connection."""
        self._host.close()

    def _machine(self, identity: str, spec: MachineSpec) -> KvmMachine:
        scarce = self._host.scarce
        return ScarceMachine(self._host, identity, spec, scarce) if scarce else KvmMachine(self._host, identity, spec)

    def _remove_machine(self, thing: Owned, deadline: Deadline) -> None:
        def work(connection: Any) -> None:
            try:
                domain = connection.lookupByUUIDString(thing.handle)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return
                raise
            owner = owner_of(parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
            if owner is None:
                raise Refused(f"the machine {thing.handle} is not ours", host=self.name, operation="remove")
            self._refuse_others(thing, owner)
            undefine(connection, thing.handle)

        self._host.ledger.check()
        self._host.connection.call("remove", work, deadline)
        for found in self._host.places.owned(deadline):
            if found.handle == thing.handle:
                self._refuse_others(thing, found.owner)
        self._host.places.clear(thing.handle, deadline)
        self._host.ledger.gone(ResourceKind.MACHINE, thing.handle)

    def _refuse_others(self, thing: Owned, marked: Ownership | None) -> None:
        """A thing with the right run but another token is somebody else's."""
        if thing.owner and marked and (thing.owner.run, thing.owner.token) != (marked.run, marked.token):
            raise Refused(
                f"{thing.handle} carries the mark of run {marked.run}, not of the one it was to be removed for",
                host=self.name,
                operation="remove",
            )

    def _define(self, name: str, domain: str, deadline: Deadline) -> None:
        """A stale domain of a QEMU that died is dropped a moment after a root is opened: look again for a while."""

        def attempt() -> bool | Pending:
            try:
                self._host.connection.call("define", lambda connection: connection.defineXML(domain), deadline)
            except LabError as error:
                if "already exists" not in error.message:
                    raise
                return Pending(error.message)
            return True

        wait_for(f"the name {name} to be free", attempt, deadline.sooner(5), every=0.2, fault=self._name_taken)

    def _name_taken(self, message: str) -> LabError:
        return LabError(message, host=self.name, operation="create", hint="another machine has this name; reap first")

    def _read_facts(self, deadline: Deadline) -> HostFacts:
        kvm = self._host.kind.kvm

        def work(connection: Any) -> HostFacts:
            info = connection.getInfo()
            qemu, ours = _dotted(connection.getVersion()), _dotted(connection.getLibVersion())
            details = {"libvirt": ours, "qemu": qemu, "host name": connection.getHostname(), "uri": connection.getURI()}
            if self._settings.local:
                details["kernel"] = platform.release()
            if self._host.kind.firmware:
                details["firmware"] = self._host.kind.firmware[0]
            return HostFacts(
                product="QEMU/libvirt",
                version=qemu,
                build=f"QEMU {qemu}, libvirt {ours}",
                accelerated="kvm" if kvm else "tcg",
                cpus=info[2],
                memory=Size(connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"] << 10),
                max_vcpus=connection.getMaxVcpus("kvm" if kvm else "qemu"),
                details=details | self._host.notes,
            )

        return self._host.connection.call("facts", work, deadline)


class LocalHypervisor(KvmHypervisor):
    """A host on this machine: its clock is ours, so it has HOST_CLOCK."""

    def clock(self, deadline: Deadline) -> ClockReading:
        """The two reads around it bound how old the answer is."""
        before = time.monotonic()
        at = time.time()
        return ClockReading(at, time.monotonic() - before)


class DistantHypervisor(KvmHypervisor):
    """A host on another machine, with an account there for reading its clock."""

    def clock(self, deadline: Deadline) -> ClockReading:
        """By ssh; see :class:`DistantClock`."""
        return DistantClock(self._settings.clock or "", self.name).read(deadline)


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
