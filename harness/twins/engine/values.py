"""What a twin's front and the engine exchange: errors, states, and what networks, disks and machines consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from harness.core import LabError


class EngineError(LabError):
    """The engine could not do it: QEMU refused or ended, a file is missing, time ran out."""


class WrongMachineState(EngineError):
    """The verb makes no sense in the machine's present state; nothing was changed."""


class NotSupported(EngineError):
    """No machine of this personality can do that, or not while it runs; nothing was changed."""


class GuestSilent(EngineError):
    """The guest was asked and did not answer in time: its tools are absent, or it kept a device it should give up."""


class MachineState(StrEnum):
    """What a machine is doing. *Suspended* has its memory on disk and no process."""

    OFF = "off"
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"


class ExitReason(StrEnum):
    """Why a machine that nobody switched off is off now."""

    GUEST_SHUTDOWN = "guest-shutdown"
    """The guest powered itself off, on its own account or because it was asked to."""
    CRASHED = "crashed"
    """QEMU ended: killed, or by a fault of its own; its log says more."""


@dataclass(frozen=True, slots=True)
class NatNetwork:
    """A network whose guests the controller reaches one to one: no guest gets out, nor sees another.

    Args:
        subnet: the guests' IPv4 network, ``10.78.0.0/16``.
        outside: a network of the same size within 127.0.0.0/8; a guest's address there has the same host part.
        port: the TCP port there that leads to the guest's port 22.
    """

    subnet: str
    outside: str
    port: int = 2222


@dataclass(frozen=True, slots=True)
class SwitchNetwork:
    """A segment of the harness's own switch: guests of all machines on it see each other, and nobody else.

    Args:
        vlan: access VLAN id; None: untagged and tagged frames pass as they are.
        mtu: longest payload in bytes.
        trunk: for ``vlan=None``, the ids that pass tagged; None: all.
        native: for ``vlan=None``, the VLAN of frames without a tag; 0: none.
    """

    vlan: int | None = None
    mtu: int = 1500
    trunk: frozenset[int] | None = None
    native: int = 0


Network = NatNetwork | SwitchNetwork


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a machine. The engine keeps its content in its own folder.

    Args:
        path: the disk's identity and nothing else: unique in the engine, need not exist, is not touched. A disk that
            is taken off a machine keeps its content under this name, for whichever machine gets it next.
        size: in bytes; larger than before grows the disk.
        backing: the image that a new disk starts from (any format QEMU reads: streamOptimized VMDK, VHDX, qcow2, raw),
            never written to; None: empty.
        serial: what the guest reads as unit serial number; empty: none.
        wwn: NAA identifier as a number; None: none.
        bus: one of the personality's disk buses; empty: its first.
        controller: which controller of that bus.
        unit: which unit (SCSI target, IDE position) of that controller.
        sector: what the guest reads as its sector, logical and physical, in bytes; a disk keeps it for life.
    """

    path: Path
    size: int
    backing: Path | None = None
    serial: str = ""
    wwn: int | None = None
    bus: str = ""
    controller: int = 0
    unit: int = 0
    sector: int = 512


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC of a machine.

    Args:
        mac: its identity in the machine, lower case with colons.
        network: the name of one of the engine's networks; empty: plugged into nothing.
        model: one of the personality's NIC models; empty: its first.
        connected: whether the cable is in.
        slot: 0 to 9, the order in which the guest finds its NICs; None: the first that is free.
        vlan: access VLAN id of its port, where that is a setting of the NIC; None: as its network says.
        trunk: for ``vlan=None``, the ids that pass its port tagged; None: as its network says.
        native: of such a trunk, the VLAN of frames without a tag; 0: none.
    """

    mac: str
    network: str
    model: str = ""
    connected: bool = True
    slot: int | None = None
    vlan: int | None = None
    trunk: frozenset[int] | None = None
    native: int = 0


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine consists of.

    Args:
        uuid: what the firmware tells the guest.
        name: for messages and QEMU's own title.
        vcpus: now.
        memory: bytes now; a multiple of 1 MiB.
        max_vcpus: up to how many may be added while it runs; None: none.
        max_memory: up to how many bytes may be added while it runs; None: none.
        cores_per_socket: how vCPUs are grouped.
        numa_nodes: among how many nodes vCPUs and memory are shared out; 0: the machine knows of none.
        uefi: UEFI instead of BIOS.
        disks: the first one is what the machine boots from.
        cdrom: the ISO in the drive, None: it is empty. A NoCloud seed there tells the guest's addresses.
        nics: in any order; see :attr:`Nic.slot`.
        serial: the file that keeps what the first serial port says from power-on; None: a file of the engine's own.
    """

    uuid: str
    name: str
    vcpus: int
    memory: int
    max_vcpus: int | None = None
    max_memory: int | None = None
    cores_per_socket: int = 1
    numa_nodes: int = 0
    uefi: bool = False
    disks: tuple[Disk, ...] = ()
    cdrom: Path | None = None
    nics: tuple[Nic, ...] = ()
    serial: Path | None = None


@dataclass(frozen=True, slots=True)
class ToolsView:
    """What the guest's integration services would tell their host: a model of them, over the image's own agent.

    Args:
        running: whether the personality's service is installed and enabled in the guest, and the agent answers.
        detail: why not, in one sentence; empty while running.
        version: of the service's package; empty when unknown.
        hostname: what the guest calls itself.
        addresses: IPv4 and IPv6 addresses by MAC, as the guest has them now.
        os_id: ``ID`` of the guest's os-release.
        os_name: its ``PRETTY_NAME``.
        kernel: the running kernel's release.
        guestinfo: what the services publish as ``guestinfo.*``.
    """

    running: bool
    detail: str = ""
    version: str = ""
    hostname: str = ""
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    os_id: str = ""
    os_name: str = ""
    kernel: str = ""
    guestinfo: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """A snapshot: what the machine was then. With ``memory`` it was running, and runs again after a revert."""

    name: str
    memory: bool
    hardware: Hardware


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine needs to know.

    Args:
        folder: its own folder: sockets, logs, switch, NVRAM. Short or long, on any file system with sparse files.
        networks: by the name that :attr:`Nic.network` uses.
        accel: ``auto`` (a probe boot decides), ``kvm`` or ``tcg``.
        probe: kernel and initramfs for that probe; None: ``auto`` means ``tcg``.
        probe_cache: the file that keeps the probe's verdicts; None: one in ``folder``.
        emulator: path of QEMU.
        seconds: how long QEMU may take to start or to answer.
        switch: the folder of the switch, where engines share one; None: a switch of its own in ``folder``.
    """

    folder: Path
    networks: Mapping[str, Network] = field(default_factory=dict)
    accel: str = "auto"
    probe: tuple[Path, Path] | None = None
    probe_cache: Path | None = None
    emulator: Path | None = None
    seconds: float = 60.0
    switch: Path | None = None
