"""The verbs that the simulator asks for when a client wants something of a machine, done by the engine."""

from __future__ import annotations

import http
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.core import InteropError
from harness.twins.engine.api import Engine, EngineMachine
from harness.twins.engine.values import GuestSilent, Hardware, MachineState, NotSupported, WrongMachineState
from harness.twins.vsphere.bodies import Bodies, UnsupportedDisk
from harness.twins.vsphere.hardware import hardware
from harness.twins.vsphere.ports import Ports
from harness.twins.vsphere.sockets import Answer

_FAULTS: tuple[type[InteropError], ...] = (WrongMachineState, GuestSilent, NotSupported, UnsupportedDisk)
_log = logging.getLogger(__name__)


class Tools(Protocol):
    """Whoever speaks with the tools of machines."""

    def started(self, machine: EngineMachine, /, *, set_clock: bool) -> None:
        """It runs from now on. ``set_clock``: its tools set the guest's clock once."""

    def look(self, key: str) -> None:
        """There is something new for the tools of the machine of this key."""


class Machines:
    """Machines by the simulator's references, which stay the same whatever a client renames.

    Args:
        engine: what runs them.
        bodies: what their disks start from.
        tools: told of every machine that runs from now on.
    """

    def __init__(self, engine: Engine, bodies: Bodies, tools: Tools) -> None:
        self._engine = engine
        self._bodies = bodies
        self._tools = tools
        self._lock = threading.Lock()
        self._disks: dict[str, set[Path]] = {}
        self._kept: set[str] = set()
        self._told: dict[str, dict[str, str]] = {}
        self._ports = Ports()
        self._verbs: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "power_on": self._power_on,
            "power_off": self._power_off,
            "reset": lambda said: self._machine(said).reset(),
            "suspend": self._suspend,
            "reconfigure": self._reconfigure,
            "snapshot": self._snapshot,
            "revert": self._revert,
            "delete_snapshot": lambda said: self._machine(said).delete_snapshot(said["snapshot"]),
            "clone": self._clone,
            "guest_shutdown": lambda said: self._machine(said).guest_shutdown(),
            "guest_reboot": lambda said: self._machine(said).guest_reboot(),
            "guestinfo": self._tell,
            "nmi": lambda said: self._machine(said).nmi(),
            "screenshot": self._screenshot,
            "delete_disk": self._delete_disk,
            "destroy": self._destroy,
        }

    def close(self) -> None:
        """Let go of every client."""
        self._ports.close()

    def answer(self, verb: str, said: Mapping[str, Any]) -> Answer:
        """One request of the simulator's."""
        act = self._verbs.get(verb)
        if act is None:
            return http.HTTPStatus.NOT_FOUND, {"fault": "", "message": f"the engine has no verb {verb!r}"}
        try:
            act(said)
        except InteropError as error:
            _log.warning("%s %s: %s", verb, said.get("machine"), error)
            kind = next((known.__name__ for known in _FAULTS if isinstance(error, known)), "")
            return http.HTTPStatus.CONFLICT, {"fault": kind, "message": error.message}
        except (OSError, ValueError, KeyError) as error:
            _log.exception("%s %s", verb, said.get("machine"))
            return http.HTTPStatus.INTERNAL_SERVER_ERROR, {"fault": "", "message": f"{verb}: {error!r}"}
        return http.HTTPStatus.OK, {}

    def _find(self, key: str) -> EngineMachine | None:
        return next((machine for machine in self._engine.machines() if machine.key == key), None)

    def _machine(self, said: Mapping[str, Any]) -> EngineMachine:
        """The machine; the engine hears of it, and of what changed while it was off, when it is first needed."""
        key, wanted = said["machine"], self._hardware(said["machine"], said["hardware"])
        with self._lock:
            machine = self._find(key)
            if machine is None:
                return self._engine.add(key, wanted)
        if machine.state is MachineState.OFF and machine.hardware != wanted:
            machine.reconfigure(wanted)
        return machine

    def _hardware(self, key: str, said: Mapping[str, Any]) -> Hardware:
        found = hardware(said, self._bodies.of)
        with self._lock:
            self._disks[key] = {disk.path for disk in found.disks}
            (self._kept.add if said["sync_always"] else self._kept.discard)(key)
            self._told[key] = said["guestinfo"]
        return found

    def keeps_time(self, key: str) -> bool:
        """Whether a machine's tools are to keep its clock with the host's."""
        with self._lock:
            return key in self._kept

    def guestinfo(self, key: str) -> Mapping[str, str]:
        """What a machine's tools are to let its guest read."""
        with self._lock:
            return self._told.get(key, {})

    def _tell(self, said: Mapping[str, Any]) -> None:
        machine = self._machine(said)
        if machine.state is MachineState.RUNNING:
            self._tools.look(machine.key)

    def _power_on(self, said: Mapping[str, Any]) -> None:
        machine = self._machine(said)
        resumed = machine.state is MachineState.SUSPENDED
        self._ports.listen(machine, said["hardware"]["serial_uri"])
        machine.power_on()
        self._tools.started(machine, set_clock=resumed and said["hardware"]["sync_resume"])

    def _power_off(self, said: Mapping[str, Any]) -> None:
        self._machine(said).power_off()
        self._ports.close(said["machine"])

    def _suspend(self, said: Mapping[str, Any]) -> None:
        self._machine(said).suspend()
        self._ports.close(said["machine"])

    def _reconfigure(self, said: Mapping[str, Any]) -> None:
        machine = self._machine(said)
        if machine.state is not MachineState.OFF:
            machine.reconfigure(self._hardware(said["machine"], said["hardware"]))

    def _snapshot(self, said: Mapping[str, Any]) -> None:
        """Without tools a host takes one of a guest that is not quiet (vSphere API, ``CreateSnapshot_Task``)."""
        machine = self._machine(said)
        memory = said.get("memory", False)
        quiesced = not memory and said.get("quiesce", False) and machine.tools().running
        machine.snapshot(said["snapshot"], memory=memory, quiesced=quiesced)

    def _revert(self, said: Mapping[str, Any]) -> None:
        machine = self._engine.machine(said["machine"])
        self._ports.close(machine.key)
        try:
            machine.revert(said["snapshot"])
        finally:  # also where it was refused and the machine goes on as it was
            if machine.state is MachineState.RUNNING:
                self._ports.listen(machine, said["hardware"]["serial_uri"])
        if machine.state is MachineState.RUNNING:
            self._tools.started(machine, set_clock=said["hardware"]["sync_restore"])

    def _clone(self, said: Mapping[str, Any]) -> None:
        """Give a new machine's disks the content of another's; its own hardware comes with its first verb."""
        source = self._machine({"machine": said["source"], "hardware": said["hardware"]})
        for disk, origin in said["disks"].items():
            content = source.content(Path(origin), said.get("snapshot"))
            self._bodies.cloned(Path(disk), Path(origin), content)

    def _screenshot(self, said: Mapping[str, Any]) -> None:
        path = Path(said["file"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._machine(said).screenshot())

    def _delete_disk(self, said: Mapping[str, Any]) -> None:
        disk = Path(said["file"])
        self._engine.delete_disk(disk)
        self._bodies.forget(disk)

    def _destroy(self, said: Mapping[str, Any]) -> None:
        key = said["machine"]
        self._ports.close(key)
        machine = self._find(key)
        if machine is not None:
            machine.destroy()
        with self._lock:
            disks = self._disks.pop(key, set())
            self._told.pop(key, None)
        disks |= {Path(each["file"]) for each in said["hardware"]["disks"]}  # that never ran, too
        for disk in disks:
            self._bodies.forget(disk)
