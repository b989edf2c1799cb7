"""The host's event log, as far as machines are in it."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.twins.hyperv.emulated.objects import Thing

if TYPE_CHECKING:
    from harness.twins.hyperv.emulated.machines import Vm

WORKER: Final = "Microsoft-Windows-Hyper-V-Worker-Admin"
_LEVELS: Final = {18560: "Error", 18590: "Critical"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    log: str
    number: int
    at: dt.datetime
    level: str
    message: str

    def thing(self) -> Thing:
        """The event as ``Get-WinEvent`` shows it."""
        return Thing(
            "EventLogRecord",
            "",
            {
                "Id": self.number,
                "LogName": self.log,
                "ProviderName": self.log.removesuffix("-Admin"),
                "TimeCreated": self.at,
                "LevelDisplayName": self.level,
                "Message": self.message,
            },
        )


class Events:
    """All events since the host came up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def worker(self, number: int, vm: Vm, what: str) -> None:
        """Something happened to a machine."""
        message = f"'{vm.name}' {what}. (Virtual machine ID {str(vm.id).upper()})"
        level = _LEVELS.get(number, "Information")
        with self._lock:
            self._events.append(Event(WORKER, number, dt.datetime.now(dt.UTC), level, message))

    def since(self, at: dt.datetime | None) -> list[Event]:
        """Those that are not older, newest first."""
        with self._lock:
            return [each for each in reversed(self._events) if at is None or each.at >= at]
