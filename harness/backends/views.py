"""What a hypervisor says it has and did: the answers that pass through the waist."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from harness.backends.model import Firmware, Ownership, PowerState, Topology, Trunk
from harness.core import Size


@dataclass(frozen=True, slots=True)
class NicView:
    """A NIC as the host sees it now."""

    mac: str
    network: str
    model: str
    connected: bool
    vlan: int | None = None
    trunk: Trunk | None = None


@dataclass(frozen=True, slots=True)
class DiskView:
    """A data disk as the host sees it now."""

    serial: str
    size: Size
    model: str
    sector: int | None = None
    """Its logical sector, in bytes; None where the host does not tell."""


@dataclass(frozen=True, slots=True)
class MachineView:
    """The host's own view of a machine, read afresh: one of the three values a check compares."""

    state: PowerState
    vcpus: int
    max_vcpus: int
    memory: Size
    firmware: Firmware
    topology: Topology | None
    nics: tuple[NicView, ...]
    disks: tuple[DiskView, ...]
    raw: str
    """The host's full description (domain XML, VM configuration) for the failure report."""
    root_controller: str = ""
    """What the system disk is attached to, in the host's own words: a bus or a kind of controller."""
    numa_nodes: int | None = None
    """Virtual NUMA nodes of the configuration; None where it names none."""
    critical: bool = False
    """The host itself stopped it, for want of room on a disk."""


@dataclass(frozen=True, slots=True)
class AddressView:
    """One address of a guest as one source on the host knows it: evidence, never used to find the guest."""

    source: str
    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One integration service as the host sees it."""

    name: str
    enabled: bool
    healthy: bool | None
    version: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host is, read without a guest.

    Args:
        product: ``QEMU/libvirt``, ``Microsoft Hyper-V``, ``VMware ESXi``.
        version: product version as a dotted number.
        build: build string where the product has one, else the version.
        accelerated: ``kvm``, ``tcg``, ``hyperv``, ``vmware``: what runs the vCPUs.
        cpus: logical processors of the host.
        memory: RAM of the host.
        max_vcpus: most vCPUs one machine may have.
        twin: True for a stand-in host.
        details: further versions for the report (``libvirt``, ``qemu``, ``firmware`` ...).
    """

    product: str
    version: str
    build: str
    accelerated: str
    cpus: int
    memory: Size
    max_vcpus: int
    twin: bool = False
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The host's wall clock: seconds since the epoch, and by how much it may be off either way."""

    at: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """What a host's processors did since some moment of old: two of these tell what they did between.

    Args:
        at: when, in seconds of a clock that only goes forward.
        processors: logical processors that share the work.
        busy: processor seconds of all work.
        ours: those of each machine (or process) of ours that is there, by a name that no later one has.
    """

    at: float
    processors: int
    busy: float
    ours: dict[str, float]


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """What a host's processors do now, as the host itself averages it.

    Args:
        processors: logical processors that share the work.
        busy: how many of them work, on the average.
        ours: how many of them work for machines of ours.
        span: seconds that are averaged, and so the age of the oldest of it.
    """

    processors: int
    busy: float
    ours: float
    span: float


MOVED = "moved"
"""The kind of every :class:`HostEvent` that says: the host took the machine elsewhere, or reset it, by itself."""

HELD = "held"
"""The kind of every :class:`HostEvent` that says: the host lets the machine stand still until somebody answers it."""


@dataclass(frozen=True, slots=True)
class HostEvent:
    """One line of the host's own log about a machine."""

    at: datetime
    kind: str
    message: str


class ResourceKind(StrEnum):
    """What the journal knows how to speak of; each backend reaps its own kinds."""

    MACHINE = "machine"
    DISK = "disk"
    IMAGE = "image"
    SEED = "seed"
    CHECKPOINT = "checkpoint"
    """Its name and handle are its machine's id, a slash, and the checkpoint's own name."""
    FOLDER = "folder"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Owned:
    """A thing on a host that carries our mark.

    ``owner`` is None only for things that are ours by place (a half upload below our own folder) but lost their mark.
    """

    kind: ResourceKind
    handle: str
    owner: Ownership | None
    name: str = ""
