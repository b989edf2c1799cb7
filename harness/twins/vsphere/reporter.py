"""What guests do unasked, and what their tools say, told to the simulator."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.core import InteropError, LabError
from harness.twins.engine.api import EngineMachine
from harness.twins.engine.values import ExitReason, MachineState, ToolsView
from harness.twins.vsphere.sockets import post

_SOON = 1.0  # while the tools are not up yet
_GUESTINFO = "/run/twin/guestinfo.json"
"""Where a guest reads what its host said: QEMU has no RPC channel, by which the tools would be asked for it."""
_OFTEN = 5.0  # real tools report every 30 s; checks need not wait that long
_log = logging.getLogger(__name__)


class Reporter:
    """A watcher of the engine's machines.

    Args:
        control: the simulator's control socket.
    """

    def __init__(self, control: Path) -> None:
        self.keeps_time: Callable[[str], bool] = lambda key: False
        """Whether the tools of a machine, by its key, are to keep its clock with the host's."""
        self.guestinfo: Callable[[str], Mapping[str, str]] = lambda key: {}
        """What the guest of a machine, by its key, may read."""
        self._control = control
        self._lock = threading.Lock()
        self._watched: dict[str, threading.Event] = {}
        self._behind: set[str] = set()
        self._closed = False

    def exited(self, machine: EngineMachine, reason: ExitReason) -> None:
        """The guest powered itself off, or QEMU ended."""
        _log.info("%s is off: %s", machine.key, reason.value)
        self._tell("/exited", {"machine": machine.key, "kind": reason.value})

    def rebooted(self, machine: EngineMachine) -> None:
        """The guest reset itself."""
        self._tell("/rebooted", {"machine": machine.key})
        self.look(machine.key)  # its tools speak up anew, and what it had been given is gone

    def panicked(self, machine: EngineMachine) -> None:
        """Never: its machines have no device for that, and real ones no event."""

    def started(self, machine: EngineMachine, /, *, set_clock: bool) -> None:
        """Watch the tools of a machine that runs, until it does no more; they set its clock once if ``set_clock``."""
        with self._lock:
            if self._closed:
                return
            (self._behind.add if set_clock else self._behind.discard)(machine.key)
            if machine.key in self._watched:
                self._watched[machine.key].set()  # look at once: it was reverted, or continued
                return
            wake = self._watched[machine.key] = threading.Event()
        threading.Thread(target=self._watch, args=(machine, wake), name=f"tools {machine.key}", daemon=True).start()

    def look(self, key: str) -> None:
        """Look after this machine's tools now, not when their next turn comes."""
        with self._lock:
            if key in self._watched:
                self._watched[key].set()

    def close(self) -> None:
        """Watch nothing any more."""
        with self._lock:
            self._closed = True
            for wake in self._watched.values():
                wake.set()

    def _watch(self, machine: EngineMachine, wake: threading.Event) -> None:
        told: ToolsView | None = None
        given = b""
        missed = False
        while True:
            with self._lock:
                if self._closed or machine.state is not MachineState.RUNNING:
                    self._watched.pop(machine.key, None)
                    return
            if wake.is_set():
                wake.clear()
                told, given = None, b""
            try:
                view = machine.tools()
            except InteropError as error:  # it ended meanwhile
                view = ToolsView(running=False, detail=error.message)
            if view.running:
                missed = False
            elif told is not None and told.running and not missed:
                # A guest may be too busy to answer once: of real tools a host misses several heartbeats first.
                missed = True
                wake.wait(_SOON)
                continue
            if view != told and machine.state is MachineState.RUNNING:
                self._tell("/tools", {"machine": machine.key, "view": _shown(view)})
                told = view
            if view.running:
                self._set_clock(machine)
                given = self._give(machine, given)
            wake.wait(_OFTEN if view.running else _SOON)

    def _set_clock(self, machine: EngineMachine) -> None:
        """Real tools that keep a clock look once a minute, and once after their machine was suspended or reverted."""
        with self._lock:
            once = machine.key in self._behind
            self._behind.discard(machine.key)
        if once or self.keeps_time(machine.key):
            try:
                machine.guest_set_clock()
            except InteropError as error:  # it ended meanwhile, or keeps its clock to itself
                _log.warning("the clock of %s: %s", machine.key, error)

    def _give(self, machine: EngineMachine, given: bytes) -> bytes:
        """Let the guest read what its host said, if that is not what it has been given already."""
        values = json.dumps(dict(self.guestinfo(machine.key)), ensure_ascii=False, sort_keys=True).encode()
        if values != given:
            try:
                machine.guest_keep(_GUESTINFO, values)
            except InteropError as error:  # it ended meanwhile, or has no room
                _log.warning("guestinfo of %s: %s", machine.key, error)
                return given
        return values

    def _tell(self, where: str, body: Mapping[str, Any]) -> None:
        try:
            post(self._control, where, body)
        except LabError as error:
            if not self._closed:
                _log.warning("%s: %s", where, error)


def _shown(view: ToolsView) -> dict[str, Any]:
    shown = asdict(view)
    shown["addresses"] = {mac: list(addresses) for mac, addresses in view.addresses.items()}
    shown["guestinfo"] = dict(view.guestinfo)
    return shown
