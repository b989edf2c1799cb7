"""What a twin's front says to the engine, and what it hears back: values, and two protocols.

A front (vcsim and its proxy, a WS-Man server) speaks its hypervisor's protocol and keeps that hypervisor's inventory;
the engine keeps what really runs: QEMU processes, their disks and snapshots. All verbs are synchronous, may be called
from any thread and are serialised by machine. When a verb returns, it is done; when it raises, nothing was changed,
except where its docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

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
    """

    vlan: int | None = None
    mtu: int = 1500
    trunk: frozenset[int] | None = None


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
    """

    path: Path
    size: int
    backing: Path | None = None
    serial: str = ""
    wwn: int | None = None
    bus: str = ""
    controller: int = 0
    unit: int = 0


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
    """

    mac: str
    network: str
    model: str = ""
    connected: bool = True
    slot: int | None = None
    vlan: int | None = None
    trunk: frozenset[int] | None = None


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


class Watcher(Protocol):
    """What happens to machines unasked. Called from a thread of the engine that holds no lock; must not raise."""

    def exited(self, machine: EngineMachine, reason: ExitReason) -> None:
        """It is off now."""

    def rebooted(self, machine: EngineMachine) -> None:
        """The guest reset itself; it keeps running."""


class EngineMachine(Protocol):
    """One machine."""

    @property
    def key(self) -> str:
        """The front's own identity of it."""

    @property
    def hardware(self) -> Hardware:
        """What it consists of now."""

    @property
    def state(self) -> MachineState:
        """What it is doing now."""

    @property
    def serial_path(self) -> Path:
        """The file that keeps the first serial port's output since power-on."""

    @property
    def pid(self) -> int | None:
        """QEMU's process, None without one."""

    def power_on(self) -> None:
        """Start it, or continue it when suspended; returns once vCPUs run. :class:`WrongMachineState` if it runs."""

    def power_off(self) -> None:
        """Cut the power; discards a suspended state. No-op when off."""

    def reset(self) -> None:
        """Press the reset button."""

    def suspend(self) -> None:
        """Put its memory on disk and end its process."""

    def pause(self) -> None:
        """Stop the vCPUs."""

    def resume(self) -> None:
        """Let them go on."""

    def nmi(self) -> None:
        """Inject one into every vCPU."""

    def power_button(self) -> None:
        """Ask by ACPI; returns at once. When the guest obeys, :meth:`Watcher.exited` says so."""

    def reconfigure(self, hardware: Hardware) -> None:
        """Make it this.

        Off: anything. Running: more vCPUs and memory within the maxima, disks added, removed (waits until the guest
        let go) or grown, NICs added, removed, replugged or their cable pulled, another CD; all else is
        :class:`NotSupported`. The steps are taken one after another: when one fails, those before it stay, and
        :attr:`hardware` says how far it came.

        Raises:
            NotSupported: nothing was changed.
            GuestSilent: the guest kept a device.
        """

    def snapshot(self, name: str, *, memory: bool, quiesced: bool = False) -> None:
        """Remember it. With ``memory`` it must run (or be paused); without, disks alone, in any state but suspended.

        ``quiesced``, of one that runs, and without memory: the guest's service freezes its file systems meanwhile.

        Raises:
            GuestSilent: no such service runs there, or it freezes nothing.
        """

    def revert(self, name: str) -> None:
        """Be again what it was: hardware, disks, and memory if it was kept; else it is off afterwards.

        Whoever was watching hears nothing of the exit that this may mean.
        """

    def delete_snapshot(self, name: str) -> None:
        """Forget it. :class:`EngineError` if unknown."""

    def rename_snapshot(self, name: str, new: str) -> None:
        """Give it another name."""

    def snapshots(self) -> tuple[SnapshotView, ...]:
        """All, oldest first."""

    def content(self, disk: Path, snapshot: str | None = None) -> Path:
        """A file that holds what :attr:`Disk.path` held at ``snapshot`` and never changes: fit as a clone's backing.

        Args:
            disk: which disk.
            snapshot: when; None: now, and the machine must not be running.
        """

    def screenshot(self) -> bytes:
        """What a monitor would show, as PNG."""

    def serial_write(self, data: bytes) -> None:
        """Type into the first serial port."""

    def tools(self) -> ToolsView:
        """Ask the guest's tools now.

        A tenth of a second while the guest is idle, three where nobody answers. Once a boot a program is run in the
        guest for their version; each look leaves five lines of the agent's in the guest's journal.
        """

    def guest_shutdown(self) -> None:
        """Ask the tools to power the guest off; returns when they took it. :class:`GuestSilent` without tools."""

    def guest_reboot(self) -> None:
        """Ask the tools to reboot the guest; returns when they took it. :class:`GuestSilent` without tools."""

    def guest_copy(self, source: Path, target: str, *, folders: bool, overwrite: bool) -> None:
        """Have the guest's file copy service take a file; returns when it has all of it.

        Args:
            source: the file on this machine.
            target: the path in the guest.
            folders: make the folders of ``target`` that are missing.
            overwrite: take the place of a file of that name, which is refused else.
        """

    def guest_set_clock(self, *, back: bool = False) -> None:
        """Have the tools set the guest's clock to this machine's if it is behind. :class:`GuestSilent` without them.

        Args:
            back: set one that is ahead, too. VMware's tools never do.
        """

    def guest_keep(self, target: str, content: bytes) -> None:
        """Have the tools keep in a file of theirs what the host told them. :class:`GuestSilent` without tools.

        Args:
            target: the file in the guest.
            content: all that it holds from now on.
        """

    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """Where on the controller the ssh of NICs (by MAC) on a :class:`NatNetwork` appears: address and port."""

    def destroy(self) -> None:
        """Cut the power and delete its disks, snapshots and logs; what clones of others stand on stays. Idempotent."""


class Engine(Protocol):
    """All machines of a twin."""

    def add(self, key: str, hardware: Hardware) -> EngineMachine:
        """A machine that is off. :class:`EngineError` when the key is taken."""

    def machine(self, key: str) -> EngineMachine:
        """The one of this key. :class:`EngineError` when there is none."""

    def machines(self) -> tuple[EngineMachine, ...]:
        """All of them."""

    def delete_disk(self, path: Path) -> None:
        """Delete a disk that is on no machine; what clones of others stand on stays. Idempotent."""

    @property
    def accel(self) -> str:
        """``kvm`` or ``tcg``."""

    @property
    def version(self) -> str:
        """QEMU's, as it says it."""

    def close(self) -> None:
        """End every process; files stay."""
