"""What is asked of a hypervisor: the values that pass through the waist on their way to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from harness.core import GiB, Size, UsageError

SECTOR, SECTORS = 512, (512, 4096)
"""The logical sectors of a disk that is asked for, in bytes: the usual ones, and all that there are."""

_LAST_VLAN = 4094  # IEEE 802.1Q: 0 says "no VLAN", 4095 is reserved


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
        data_sectors: their logical sectors, in bytes: 512, or 4096 where the host has ``SECTORS_4K``.
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
    data_sectors: int = SECTOR
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
            large = "" if self.data_sectors == SECTOR else f" with sectors of {self.data_sectors} bytes"
            parts.append(f"{len(self.data_disks)} data disks{large}")
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
class Trunk:
    """A port of several VLANs.

    Args:
        allowed: the VLAN ids that pass tagged; no others do.
        native: the VLAN id that frames without a tag belong to, in either direction. It passes though it is not among
            the allowed ones, and untagged.

    Raises:
        ValueError: the native id is allowed to pass tagged as well, or one is none of 1 to 4094.
    """

    allowed: frozenset[int]
    native: int

    def __post_init__(self) -> None:
        if self.native in self.allowed:
            raise ValueError(f"VLAN {self.native} passes untagged, and so never with a tag")
        wrong = sorted(vlan for vlan in self.every if not 1 <= vlan <= _LAST_VLAN)
        if wrong:
            raise ValueError(f"{', '.join(map(str, wrong))}: a VLAN id is one of 1 to {_LAST_VLAN}")

    @property
    def every(self) -> tuple[int, ...]:
        """All its VLANs, the native one among them."""
        return tuple(sorted({*self.allowed, self.native}))

    def __str__(self) -> str:
        return f"{', '.join(map(str, sorted(self.allowed))) or 'nothing'} tagged and {self.native} untagged"


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Where a NIC is plugged in, as the lab names it.

    Args:
        name: the lab's word for the network.
        kind: what it is on the host.
        source: the host's word for it (bridge, switch, port group or libvirt network); empty for ``user``.
        vlan: access VLAN id, None for untagged.
        mtu: MTU in bytes.
        trunk: the VLANs of a port that has several.

    Raises:
        ValueError: it is to be both, an access port and a trunk.
    """

    name: str
    kind: NetworkKind
    source: str = ""
    vlan: int | None = None
    mtu: int = 1500
    trunk: Trunk | None = None

    def __post_init__(self) -> None:
        if self.vlan is not None and self.trunk is not None:
            raise ValueError(f"a port is in VLAN {self.vlan} or a trunk of {self.trunk}, never both")


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
    """An empty data disk.

    Args:
        serial: what the guest reads in sysfs and the name to detach it by (<= 20 chars).
        size: in whole sectors.
        sector: the logical sector, in bytes: the least that the guest can read or write. 512, or 4096 where the host
            has ``SECTORS_4K``.

    Raises:
        UsageError: there is no such sector, or the size ends within one.
    """

    serial: str
    size: Size
    sector: int = SECTOR

    def __post_init__(self) -> None:
        if self.sector not in SECTORS:
            raise UsageError(f"no disk has sectors of {self.sector} bytes", hint="ask for 512 or 4096")
        if self.size % self.sector:
            raise UsageError(
                f"{self.serial}: {int(self.size)} bytes are no whole sectors of {self.sector}",
                hint=f"ask for a multiple of {self.sector}",
            )


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
