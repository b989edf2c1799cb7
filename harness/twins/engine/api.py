"""What a twin's front says to the engine, and what it hears back: a protocol each way.

A front (vcsim and its proxy, a WS-Man server) speaks its hypervisor's protocol and keeps that hypervisor's inventory;
the engine keeps what really runs: QEMU processes, their disks and snapshots. All verbs are synchronous, may be called
from any thread and are serialised by machine. When a verb returns, it is done; when it raises, nothing was changed,
except where its docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from harness.twins.engine.values import ExitReason, Hardware, MachineState, SnapshotView, ToolsView


class Watcher(Protocol):
    """What happens to machines unasked. Called from a thread of the engine that holds no lock; must not raise."""

    def exited(self, machine: EngineMachine, reason: ExitReason) -> None:
        """It is off now."""

    def rebooted(self, machine: EngineMachine) -> None:
        """The guest reset itself; it keeps running."""

    def panicked(self, machine: EngineMachine) -> None:
        """The guest's kernel said that it panicked; what it does then is its own affair."""


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
