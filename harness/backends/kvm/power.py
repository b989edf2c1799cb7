"""Power, pause, save, and asking the guest to go down."""

from __future__ import annotations

import libvirt

from harness.backends.kvm.agent import Agent
from harness.backends.kvm.base import switch_off
from harness.backends.kvm.connection import Overrun
from harness.backends.kvm.going_down import going_down
from harness.backends.kvm.nics import Nics
from harness.backends.kvm.serial import Serial
from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored
from harness.core import Deadline, Pending, wait_for

_BY_BUTTON = {
    "shutdown": libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
    "reboot": libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN,
}
_BY_AGENT = {"shutdown": libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, "reboot": libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT}
_PING_SECONDS = 10
RUNNING, PAUSED, SAVED, OFF = PowerState.RUNNING, PowerState.PAUSED, PowerState.SAVED, PowerState.OFF


class Power(Nics, Serial, Agent):
    """The verbs of :class:`Machine`, :class:`Pausable`, :class:`Savable` and :class:`ShutdownRequest`."""

    def start(self, deadline: Deadline) -> None:
        """Boot; a saved machine continues."""
        with self._lock:
            state = self._require("start", deadline, OFF, SAVED)
            if state is OFF:
                self._begin_console()
            self._wire(deadline)
            self._act("start", lambda domain: domain.create(), deadline)
            self._connect(deadline)

    def stop(self, deadline: Deadline) -> None:
        """Cut the power; saved state is discarded."""
        with self._lock:
            state = self._state(deadline)
            if state is SAVED:
                self._act("stop", lambda domain: domain.managedSaveRemove(0), deadline)
            elif state is not OFF:
                self._act("stop", switch_off, deadline)

    def reset(self, deadline: Deadline) -> None:
        """Press the reset button."""
        with self._lock:
            self._require("reset", deadline, RUNNING)
            self._act("reset", lambda domain: domain.reset(0), deadline)

    def pause(self, deadline: Deadline) -> None:
        """``virsh suspend``."""
        with self._lock:
            self._require("pause", deadline, RUNNING)
            self._act("pause", lambda domain: domain.suspend(), deadline)

    def resume(self, deadline: Deadline) -> None:
        """``virsh resume``."""
        with self._lock:
            self._require("resume", deadline, PAUSED)
            self._act("resume", lambda domain: domain.resume(), deadline)

    def save(self, deadline: Deadline) -> None:
        """``virsh managedsave``."""
        with self._lock:
            self._require("save", deadline, RUNNING, PAUSED)
            self._refuse_foreign_nics("save", deadline)
            self._act("save", lambda domain: domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING), deadline)

    def restore(self, deadline: Deadline) -> None:
        """Continue from ``managedsave``."""
        with self._lock:
            self._require("restore", deadline, SAVED)
            self._wire(deadline)
            self._act("restore", lambda domain: domain.create(), deadline)
            self._connect(deadline)

    def shutdown(self, deadline: Deadline) -> None:
        """By the agent where it is connected, else by the ACPI power button; once."""
        with self._lock:
            self._require("shutdown", deadline, RUNNING)
            self._ask_guest("shutdown", deadline)
            wait_for(
                f"{self._spec.name} to be off",
                lambda: True if (seen := self._state(deadline)) is OFF else Pending(f"it is {seen.value}"),
                deadline,
                every=0.2,
                fault=lambda message: GuestIgnored(message, host=self._host.name, operation="shutdown"),
            )

    def reboot(self, deadline: Deadline) -> None:
        """By the agent where it is connected (:class:`GuestIgnored` where it is silent), else by ACPI."""
        with self._lock:
            self._require("reboot", deadline, RUNNING)
            self._ask_guest("reboot", deadline)

    def _ask_guest(self, verb: str, deadline: Deadline) -> None:
        if not self._agent_connected(deadline):
            self._give(verb, _BY_BUTTON[verb], deadline)
            return
        self._agent({"execute": "guest-ping"}, deadline.sooner(_PING_SECONDS))
        with going_down(lambda: self._agent_connected(deadline), deadline):
            try:
                self._give(verb, _BY_AGENT[verb], deadline)
            except (GuestIgnored, Overrun):
                # The agent, which answered a moment ago, said nothing against it, and libvirt waits up to a minute for
                # the guest to be down (``qemuAgentShutdown``). What becomes of it is for others to see; a libvirt that
                # is the one that does not answer says so here.
                self._state(deadline)

    def _give(self, verb: str, mode: int, deadline: Deadline) -> None:
        if verb == "shutdown":
            self._act(verb, lambda domain: domain.shutdownFlags(mode), deadline)
        else:
            self._act(verb, lambda domain: domain.reboot(mode), deadline)
