"""libvirt's events about machines, kept in memory as they come."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import libvirt

from harness.backends.views import HostEvent

_KEPT = 500

_LIFECYCLE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "pmsuspended",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}
_DETAILS = {
    "defined": ("added", "updated", "renamed", "from snapshot"),
    "undefined": ("removed", "renamed"),
    "started": ("booted", "migrated", "restored", "from snapshot", "wakeup"),
    "suspended": ("paused", "migrated", "I/O error", "watchdog", "restored", "from snapshot", "API error"),
    "resumed": ("unpaused", "migrated", "from snapshot"),
    "stopped": ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot"),
    "shutdown": ("finished", "by the guest", "by the host"),
    "crashed": ("panicked", "crash loaded"),
}


class EventLog:
    """Events by machine, oldest first; at most some hundreds each, for a guest may reboot for ever."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._events: dict[str, deque[HostEvent]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._registered: list[tuple[Any, int]] = []

    def of(self, machine: str) -> tuple[HostEvent, ...]:
        """What is known of one machine."""
        with self._lock:
            return tuple(self._events.get(machine, ()))

    def forget(self, machine: str) -> None:
        """A machine that is gone needs no history."""
        with self._lock:
            self._events.pop(machine, None)

    def listen(self, connection: Any) -> None:
        """Register for everything that says something about a guest's life; once with each connection."""
        if any(known is connection for known, _ in self._registered):
            return
        self._registered.clear()  # what a lost connection had registered went with it
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reboot),
            (libvirt.VIR_DOMAIN_EVENT_ID_RTC_CHANGE, self._rtc),
            (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR, self._io_error),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self._device_added),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._device_removed),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, self._removal_failed),
            (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._agent),
        ):
            self._registered.append((connection, connection.domainEventRegisterAny(None, event, callback, None)))

    def deafen(self) -> None:
        """Stop listening."""
        for connection, number in self._registered:
            with suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(number)
        self._registered.clear()

    def _add(self, domain: Any, kind: str, message: str) -> None:
        with self._lock:
            self._events[domain.UUIDString()].append(HostEvent(self._now(), kind, message))

    def _lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        kind = _LIFECYCLE.get(event, f"lifecycle {event}")
        known = _DETAILS.get(kind, ())
        self._add(domain, kind, known[detail] if detail < len(known) else f"detail {detail}")

    def _reboot(self, _connection: Any, domain: Any, _opaque: Any) -> None:
        self._add(domain, "reboot", "the guest restarted")

    def _rtc(self, _connection: Any, domain: Any, offset: int, _opaque: Any) -> None:
        self._add(domain, "rtc-change", f"the guest set its clock {offset} s from UTC")

    def _io_error(self, _connection: Any, domain: Any, path: str, device: str, action: int, _opaque: Any) -> None:
        self._add(domain, "io-error", f"{device} ({path}), action {action}")

    def _device_added(self, _connection: Any, domain: Any, device: str, _opaque: Any) -> None:
        self._add(domain, "device-added", device)

    def _device_removed(self, _connection: Any, domain: Any, device: str, _opaque: Any) -> None:
        self._add(domain, "device-removed", device)

    def _removal_failed(self, _connection: Any, domain: Any, device: str, _opaque: Any) -> None:
        self._add(domain, "device-removal-failed", device)

    def _agent(self, _connection: Any, domain: Any, state: int, _reason: int, _opaque: Any) -> None:
        connected = state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
        self._add(domain, "agent", "connected" if connected else "disconnected")
