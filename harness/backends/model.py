"""The values that pass through the waist: what is asked of a hypervisor, and what it says it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from harness.core import GiB, Size


class Firmware(StrEnum):
    """How a machine starts: Hyper-V calls these generation 1 and generation 2."""

    BIOS = "bios"
    UEFI = "uefi"


class PowerState(StrEnum):
    """A machine as its host sees it. *Paused* has stopped vCPUs in memory, *saved* has its state on disk."""

    RUNNING = "running"
    PAUSED = "paused"
    SAVED = "saved"
    OFF = "off"
    CRASHED = "crashed"


class DeviceKind(StrEnum):
    """Whether a device is the hypervisor's own paravirtual one or imitates real hardware."""

    SYNTHETIC = "synthetic"
    EMULATED = "emulated"


@dataclass(frozen=True, slots=True)
class Topology:
    """How the vCPUs are grouped; the product of the three is the number of (possible) vCPUs."""

    sockets: int
    cores: int
    threads: int = 1

    @property
    def vcpus(self) -> int:
        """Number of vCPUs this grouping holds."""
        return self.sockets * self.cores * self.threads


@dataclass(frozen=True, slots=True)
class Shape:
    """What a test asks of a guest. Equal shapes share warm slots.

    Args:
        vcpus: vCPUs at boot.
        memory: RAM at boot.
        firmware: BIOS or UEFI.
        max_vcpus: vCPUs that may be hot added up to; None: no room is kept.
        max_memory: RAM that may be hot added up to; None: no room is kept.
        topology: sockets x cores x threads; None: the host's default.
        numa_nodes: among how many virtual NUMA nodes vCPUs and memory are shared out evenly; None: the host's default.
        nics: how many NICs; the first is the one the controller reaches, 0 leaves the console alone.
        data_disks: sizes of empty data disks besides the system disk.
        nic_kind: synthetic (virtio, hv_netvsc, vmxnet3) or emulated.
    """

    vcpus: int = 2
    memory: Size = GiB
    firmware: Firmware = Firmware.BIOS
    max_vcpus: int | None = None
    max_memory: Size | None = None
    topology: Topology | None = None
    numa_nodes: int | None = None
    nics: int = 1
    data_disks: tuple[Size, ...] = ()
    nic_kind: DeviceKind = DeviceKind.SYNTHETIC

    def __str__(self) -> str:
        parts = [f"{self.vcpus} vCPU", str(self.memory), self.firmware.value]
        if self.max_vcpus:
            parts.append(f"up to {self.max_vcpus} vCPU")
        if self.max_memory:
            parts.append(f"up to {self.max_memory}")
        if self.topology:
            parts.append(f"{self.topology.sockets}x{self.topology.cores}x{self.topology.threads}")
        if self.numa_nodes:
            parts.append(f"{self.numa_nodes} NUMA nodes")
        if self.nics != 1:
            parts.append(f"{self.nics} NICs")
        if self.data_disks:
            parts.append(f"{len(self.data_disks)} data disks")
        if self.nic_kind is not DeviceKind.SYNTHETIC:
            parts.append(f"{self.nic_kind.value} NIC")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and TCP port that the controller can connect to."""

    address: str
    port: int = 22

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class NetworkKind(StrEnum):
    """What a lab's network is on its host."""

    USER = "user"
    """QEMU's user-mode network, restricted: nothing gets out, the controller gets in by a port forward."""
    SWITCH = "switch"
    """The harness's own L2 switch on loopback (embedded and twin hosts), or a named vSwitch (Hyper-V)."""
    BRIDGE = "bridge"
    """A bridge of the host, by name."""
    NETWORK = "network"
    """A network the hypervisor manages, by name (libvirt network, port group)."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Where a NIC is plugged in, as the lab names it.

    Args:
        name: the lab's word for the network.
        kind: what it is on the host.
        source: the host's word for it (bridge, switch, port group or libvirt network); empty for ``user``.
        vlan: access VLAN id, None for untagged.
        mtu: MTU in bytes.
    """

    name: str
    kind: NetworkKind
    source: str = ""
    vlan: int | None = None
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class NicSpec:
    """A NIC to create or attach.

    Args:
        mac: ``52:54:00:...`` in lower case; a NIC's identity everywhere, order is not.
        network: where it is plugged in.
        kind: synthetic or emulated.
        address: the IPv4 address with prefix length that the seed gives it inside the guest.
        forward: where the controller finds the guest's port 22, where that is not the guest's own address: a port of
            the controller (``user`` networks), or an address that a network between them translates.
        connected: whether the cable is in at start.
    """

    mac: str
    network: NetworkSpec
    kind: DeviceKind = DeviceKind.SYNTHETIC
    address: str | None = None
    forward: Endpoint | None = None
    connected: bool = True


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """An empty data disk. ``serial`` is what the guest reads in sysfs and the name to detach it by (<= 20 chars)."""

    serial: str
    size: Size


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who a thing on a host belongs to; travels in its metadata and is what reaping goes by.

    Args:
        run: the run's id.
        token: a word that only holders of the lab's key can make for the run; a thing with the right run but another
            token is somebody else's.
        expiry: after this moment (UTC) another controller may reap it.
    """

    run: str
    token: str
    expiry: datetime


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """An image as a host holds it: ``digest`` is the content's sha256, ``handle`` the host's name for the base disk."""

    digest: str
    handle: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Everything needed to create one machine; the result is always off and always cold.

    Args:
        name: unique on the host; display only, never an identity.
        image: what :meth:`Hypervisor.publish` returned.
        shape: what the test asked for.
        nics: in the order of the guest's slots; ``shape.nics`` of them.
        seed: the NoCloud ISO on the controller's disk; copied to the host where needed.
        owner: run, token and expiry for the metadata.
        disks: the data disks, ``shape.data_disks`` of them.
        annotations: further key-value pairs kept in the machine's metadata (slot name, image digest).
    """

    name: str
    image: PublishedImage
    shape: Shape
    nics: tuple[NicSpec, ...]
    seed: Path | None
    owner: Ownership
    disks: tuple[DiskSpec, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NicView:
    """A NIC as the host sees it now."""

    mac: str
    network: str
    model: str
    connected: bool
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class DiskView:
    """A data disk as the host sees it now."""

    serial: str
    size: Size
    model: str


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
