"""One connection to libvirt: opened late, reopened when stale, and never waited for without end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from harness.backends.kvm.errors import lost, translated
from harness.backends.kvm.events import EventLog
from harness.core import Deadline, LabError

T = TypeVar("T")

_loop_lock = threading.Lock()
_loop: threading.Thread | None = None
_EMBEDDED = "qemu:///embed"
_embedded: dict[str, Any] = {}
_LEAST = 2.0
"""Seconds that every call has: who waits for a guest looks once more when its time is over, and a libvirt that is asked
in the last moment is no libvirt that does not answer."""


class Overrun(LabError):
    """A call to libvirt that was left behind: its time is over."""


def _start_event_loop() -> None:
    """Once a process, before anything is opened: the embedded driver talks to its QEMUs through this loop."""
    global _loop  # noqa: PLW0603 - libvirt's event loop is one a process as well
    with _loop_lock:
        if _loop is None:
            libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it prints to stderr
            libvirt.virEventRegisterDefaultImpl()
            _loop = threading.Thread(target=_run_events, name="libvirt-events", daemon=True)
            _loop.start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


class Connection:
    """libvirt calls with a deadline, of which each may overrun by two seconds.

    libvirt's calls take no time-out, so each runs in a thread of its own; one that overruns is left behind with its
    connection, and the next call opens a new one.

    Args:
        uri: what to open.
        host: the lab's name for it, for messages.
        events: listens on every new connection.
    """

    def __init__(self, uri: str, host: str, events: EventLog | None = None) -> None:
        self.uri = uri
        self.host = host
        self._events = events
        self._lock = threading.RLock()
        self._connection: Any = None

    def call(self, operation: str, work: Callable[[Any], T], deadline: Deadline) -> T:
        """Run ``work(connection)`` and return what it returns.

        Raises:
            LabError: no connection, or lost in the middle.
            Overrun: it took too long.
            GuestIgnored: the guest's agent was asked, and did not answer libvirt in time.
            WrongState: libvirt calls the operation invalid in the present state.
            Refused: libvirt does not support or accept what was asked.
        """
        connection = self._usable(deadline)
        try:
            return self._within(operation, lambda: work(connection), deadline)
        except libvirt.libvirtError as error:
            if lost(error):
                self._drop(connection)
            raise translated(error, self.host, operation) from error

    def close(self) -> None:
        """Hang up; a later call would connect anew."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            if self._events and not self.uri.startswith(_EMBEDDED):
                self._events.deafen()
            _close_quietly(connection)

    def _usable(self, deadline: Deadline) -> Any:
        with self._lock:
            if self._connection is not None and not self._alive(self._connection):
                self._drop(self._connection)
            if self._connection is None:
                self._connection = self._open(deadline)
            return self._connection

    @staticmethod
    def _alive(connection: Any) -> bool:
        try:
            return bool(connection.isAlive())
        except libvirt.libvirtError:
            return False

    def _open(self, deadline: Deadline) -> Any:
        _start_event_loop()
        try:
            connection = self._within("connect", lambda: _opened(self.uri), deadline)
            if self._events:
                self._events.listen(connection)
        except libvirt.libvirtError as error:
            raise LabError(
                f"libvirt at {self.uri} refuses: {error.get_error_message()}",
                host=self.host,
                operation="connect",
                hint="`virsh -c URI version` tells whether it is this harness or the host",
            ) from error
        return connection

    def _drop(self, connection: Any) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        threading.Thread(target=_close_quietly, args=(connection,), daemon=True).start()  # closing may hang as well

    def _within(self, operation: str, work: Callable[[], T], deadline: Deadline) -> T:
        results: list[T] = []
        faults: list[BaseException] = []

        def body() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
                faults.append(error)

        thread = threading.Thread(target=body, name=f"libvirt-{operation}", daemon=True)
        thread.start()
        thread.join(max(deadline.seconds, _LEAST))
        if faults:
            raise faults[0]
        if not results:
            with self._lock:
                self._connection = None  # whatever it waits for, nobody shall queue behind it
            raise Overrun(
                f"libvirt at {self.uri} did not answer in time",
                host=self.host,
                operation=operation,
                hint="the host may be overloaded or out of reach; the call was abandoned",
            )
        return results[0]


def _opened(uri: str) -> Any:
    """A new connection, except to the embedded driver: that registers itself anew with every ``open`` and refuses after
    some twenty ("Too many drivers"), so a process has one, for good.
    """
    if not uri.startswith(_EMBEDDED):
        connection = libvirt.open(uri)
        connection.setKeepAlive(5, 4)  # a host that vanished is noticed after 20 s
        return connection
    with _loop_lock:
        if uri not in _embedded:
            _embedded[uri] = libvirt.open(uri)
        return _embedded[uri]


def send(stream: Any, data: bytes) -> None:
    """Send all of it: a stream takes as much as it likes at a time."""
    while data:
        data = data[stream.send(data) :]


def _close_quietly(connection: Any) -> None:
    if connection in _embedded.values():
        return
    try:
        connection.close()
    except libvirt.libvirtError:
        return
