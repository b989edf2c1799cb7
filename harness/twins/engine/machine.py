"""A machine of the engine: all its verbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.core import Deadline
from harness.twins.engine.devices import forwards
from harness.twins.engine.nat import seeded
from harness.twins.engine.reconfigure import Reconfigure
from harness.twins.engine.running import Running
from harness.twins.engine.snapshots import Snapshots
from harness.twins.engine.values import MachineState, ToolsView

_TOOLS_SECONDS = 20.0  # an agent that does not greet is given up much sooner
_COPY_SECONDS = 600.0  # a serial port is slow


class Machine(Snapshots, Reconfigure):
    """Implements :class:`harness.twins.engine.api.EngineMachine`."""

    def power_on(self) -> None:
        """Start it, or continue it when suspended; returns once vCPUs run."""
        with self._lock:
            self._require("power on", MachineState.OFF, MachineState.SUSPENDED)
            if self._state is MachineState.SUSPENDED:
                self._resume_suspended()
            else:
                self._shape = replace(self._shape, modules=())
                self._begin(self._launch(self._shape, anew=True))

    def power_off(self) -> None:
        """Cut the power; discards a suspended state. No-op when off."""
        with self._lock:
            if self._state is MachineState.SUSPENDED:
                self._forget_suspended()
            self._finish()

    def reset(self) -> None:
        """Press the reset button."""
        with self._lock:
            running = self._live("reset")
            running.ask("system_reset")
            if self._state is MachineState.PAUSED:
                self.resume()

    def pause(self) -> None:
        """Stop the vCPUs."""
        with self._lock:
            self._require("pause", MachineState.RUNNING)
            self._live("pause").ask("stop")
            self._state = MachineState.PAUSED

    def resume(self) -> None:
        """Let them go on."""
        with self._lock:
            self._require("resume", MachineState.PAUSED)
            self._live("resume").ask("cont")
            self._state = MachineState.RUNNING

    def nmi(self) -> None:
        """Inject one into every vCPU."""
        self._of_running("nmi").ask("inject-nmi")

    def power_button(self) -> None:
        """Ask by ACPI; returns at once."""
        self._of_running("power button").ask("system_powerdown")

    def screenshot(self) -> bytes:
        """What a monitor would show, as PNG."""
        with self._lock:
            return self._live("screenshot").screenshot()

    def serial_write(self, data: bytes) -> None:
        """Type into the first serial port."""
        with self._lock:
            keyboard = self._live("serial").keyboard
        keyboard.type(data, self._host.settings.seconds)

    def tools(self) -> ToolsView:
        """Ask the guest's tools now."""
        with self._lock:
            running = self._running if self._state is MachineState.RUNNING else None
        if running is None:
            return ToolsView(False, f"the machine is {self._state}")
        # Not under the machine's lock: a guest that is silent must not keep it from being switched off.
        return running.tools.view(Deadline.after(_TOOLS_SECONDS))

    def guest_shutdown(self) -> None:
        """Ask the tools to power the guest off; returns when they took it."""
        self._of_running("shutdown").tools.power("powerdown", Deadline.after(_TOOLS_SECONDS))

    def guest_reboot(self) -> None:
        """Ask the tools to reboot the guest; returns when they took it."""
        self._of_running("reboot").tools.power("reboot", Deadline.after(_TOOLS_SECONDS))

    def guest_copy(self, source: Path, target: str, *, folders: bool, overwrite: bool) -> None:
        """Have the guest's file copy service take a file."""
        tools = self._of_running("file copy").tools
        tools.copy(source, target, Deadline.after(_COPY_SECONDS), folders=folders, overwrite=overwrite)

    def guest_set_clock(self, *, back: bool = False) -> None:
        """Have the tools set the guest's clock, if it is behind."""
        self._of_running("clock").tools.set_clock(Deadline.after(_TOOLS_SECONDS), back=back)

    def guest_keep(self, target: str, content: bytes) -> None:
        """Have the tools keep in a file of theirs what the host told them."""
        self._of_running("tools").tools.keep(target, content, Deadline.after(_COPY_SECONDS))

    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """Where on the controller the ssh of NICs (by MAC) on a :class:`NatNetwork` appears: address and port."""
        return forwards(self.hardware.nics, self._host.settings.networks, seeded(self.hardware.cdrom))

    def destroy(self) -> None:
        """Cut the power and delete its disks, snapshots and logs; what clones of others stand on stays. Idempotent."""
        with self._lock:
            self._finish()
            for disk in self._every_disk(self.hardware):
                self._host.layers.forget(disk.path)
            self._snapshots.clear()
            self._host.layers.sweep()
            self._host.remove(self._key)
            self._destroyed(self._key)

    def _of_running(self, verb: str) -> Running:
        with self._lock:
            self._require(verb, MachineState.RUNNING)
            return self._live(verb)

    def _on_reboot(self) -> None:
        self._host.rebooted(self)

    def _on_panic(self) -> None:
        self._host.panicked(self)

    def _on_exit(self, running: Running) -> None:
        self._host.exited(self, running.reason)
