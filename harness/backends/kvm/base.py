"""What all concerns of a machine stand on: its domain, its state, its host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import libvirt

from harness.backends.kvm import monitor
from harness.backends.kvm.connection import Connection
from harness.backends.kvm.domain import HostKind
from harness.backends.kvm.events import EventLog
from harness.backends.kvm.places import Places
from harness.backends.kvm.roots import Root
from harness.backends.kvm.scarce import Scarce
from harness.backends.kvm.xml import Element, parse
from harness.backends.model import MachineSpec, PowerState
from harness.backends.protocol import Ledger, Refused, WrongState
from harness.core import Deadline, LabError
from harness.qemu import QemuError
from harness.qemu.switch import Address, Plug
from harness.qemu.switchboard import SwitchClient

T = TypeVar("T")

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.OFF,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.OFF,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
}

ACTIVE = (PowerState.RUNNING, PowerState.PAUSED, PowerState.CRASHED)


@dataclass(frozen=True, slots=True)
class HostAccess:
    """What a machine needs of its hypervisor."""

    name: str
    connection: Connection
    kind: HostKind
    places: Places
    ledger: Ledger
    events: EventLog
    switch: SwitchClient | None
    root: Root | None
    notes: dict[str, str]
    scarce: Scarce | None = None

    def close(self) -> None:
        """Hang up, and leave the switch to others."""
        if self.switch:
            self.switch.close()
        self.connection.close()


class MachineBase:
    """One domain, found anew by its UUID for every call: handles go stale with their connection."""

    def __init__(self, host: HostAccess, uuid: str, spec: MachineSpec) -> None:
        self._host = host
        self._uuid = uuid
        self._spec = spec
        self._lock = threading.RLock()  # verbs of one machine follow each other

    @property
    def id(self) -> str:
        """The domain's UUID."""
        return self._uuid

    @property
    def spec(self) -> MachineSpec:
        """What was asked for when it was created."""
        return self._spec

    def _ask(self, operation: str, work: Callable[[Any], T], deadline: Deadline) -> T:
        """Run ``work(domain)``."""
        return self._host.connection.call(
            operation, lambda connection: work(connection.lookupByUUIDString(self._uuid)), deadline
        )

    def _act(self, operation: str, work: Callable[[Any], T], deadline: Deadline) -> T:
        """As :meth:`_ask`, for what changes something: the run's lease is checked first."""
        self._host.ledger.check()
        return self._ask(operation, work, deadline)

    def _state(self, deadline: Deadline) -> PowerState:
        return self._ask("state", state_of, deadline)

    def _critical(self, deadline: Deadline) -> bool:
        return self._ask("state", is_critical, deadline)

    def _require(self, verb: str, deadline: Deadline, *states: PowerState) -> PowerState:
        """The present state, if it is one of ``states``.

        Raises:
            WrongState: it is another.
        """
        state = self._state(deadline)
        if state not in states:
            wanted = " or ".join(one.value for one in states)
            raise WrongState(
                f"{self._spec.name} is {state.value}, and only a machine that is {wanted} can do this",
                host=self._host.name,
                operation=verb,
            )
        return state

    def _xml(self, deadline: Deadline, *, inactive: bool = False) -> Element:
        flags = libvirt.VIR_DOMAIN_XML_SECURE | (libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0)
        return parse(self._ask("description", lambda domain: domain.XMLDesc(flags), deadline))

    def _monitor(self, command: str, deadline: Deadline, **arguments: Any) -> Any:
        return self._ask(command, lambda domain: monitor.qmp(domain, command, arguments), deadline)

    def _human_monitor(self, line: str, deadline: Deadline) -> str:
        return self._ask(line.split(maxsplit=1)[0], lambda domain: monitor.hmp(domain, line), deadline)

    def _refused(self, message: str, verb: str, hint: str | None = None) -> Refused:
        return Refused(message, host=self._host.name, operation=verb, hint=hint)

    def _plug(self, port: Address, plug: Plug | None) -> None:
        """Connect a port of the harness's own switch; None: disconnect it."""
        if self._host.switch is None:
            return
        try:
            if plug is None:
                self._host.switch.unplug(port)
            else:
                self._host.switch.plug(port, plug)
        except QemuError as error:
            raise lab_error(error, self._host.name, "switch") from error


def is_critical(domain: Any) -> bool:
    """Whether QEMU stopped it for an I/O error: by default, for a write that found no room (``werror=enospc``)."""
    return bool(domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR])


def state_of(domain: Any) -> PowerState:
    """The power state of a libvirt domain; one that is off with its memory on disk is *saved*."""
    state = _STATES[domain.state()[0]]
    if state is PowerState.OFF and domain.hasManagedSaveImage():
        return PowerState.SAVED
    return state


def switch_off(domain: Any) -> None:
    """Cut a domain's power; content if it is off by then."""
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it went off by itself just now
            raise


def lab_error(error: QemuError, host: str, operation: str) -> LabError:
    """The leaf's error, with the host it happened on."""
    return LabError(str(error), host=host, operation=operation)
