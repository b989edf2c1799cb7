"""One login a process: calls by name, made again after one new login when the host forgot the session."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pyVmomi import VmomiSupport

from harness.backends.vsphere import tls
from harness.backends.vsphere.errors import LoggedOut, Unavailable, Unreachable
from harness.backends.vsphere.refs import Ref, bound, plain, ref_of
from harness.backends.vsphere.settings import Settings
from harness.backends.vsphere.wire import Wire
from harness.core import Deadline, InteropError, LabError
from harness.core.waiting import pause

T = TypeVar("T")

INSTANCE = Ref("ServiceInstance", "ServiceInstance")
_OLDEST = "vim.version.version9"  # what every vSphere of these years understands before it has told its own version
_KEEP_ALIVE = 300.0  # a session that is idle for half an hour ends (measured by others: pyvmomi issues 349, 953)
_ALIVE_SECONDS = 30.0
_TRIES = 3
_READS = {"RetrieveServiceContent", "RetrievePropertiesEx", "CurrentTime", "WaitForUpdatesEx", "QueryEvents", "Login"}


class Session:
    """Speaks to one vCenter or ESXi, from any thread.

    Args:
        settings: where, as whom, and whom to trust.
        host: the lab's name of the host, for messages.
        deadline: when logging in must be done.

    Raises:
        LabError: it cannot be reached, shows a wrong certificate, or refuses the account.
    """

    def __init__(self, settings: Settings, host: str, deadline: Deadline) -> None:
        self.host = host
        self.settings = settings
        self._context = tls.context(settings.ca, settings.thumbprint, host)
        self._lock = threading.RLock()
        self._generation = 0
        self._idle_collectors: list[Ref] = []
        self._closed = threading.Event()
        self._user: Any = None
        self._wire = self._new_wire(_OLDEST)
        try:
            self.content: Any = self._agreed(deadline)
            self._login(deadline)
        except BaseException:
            self._wire.hang_up()
            raise
        threading.Thread(target=self._keep_alive, name=f"vsphere-{host}", daemon=True).start()

    @property
    def trips(self) -> Counter[str]:
        """Round trips so far, by method."""
        return Counter(self._wire.trips)

    @property
    def about(self) -> Any:
        """What the service says of itself (``AboutInfo``)."""
        return self.content.about

    @property
    def context(self) -> Any:
        """Whom to trust, for transfers beside the API."""
        return self._context

    @property
    def cookie(self) -> str:
        """The session, for transfers beside the API; never to be logged."""
        return str(self._wire.cookie).partition(";")[0]

    @property
    def key(self) -> str:
        """The session's own, as the host lists it among its sessions."""
        return str(self._user.key)

    @property
    def root(self) -> Ref:
        """The inventory's root folder."""
        return self.manager("rootFolder")

    def manager(self, name: str) -> Ref:
        """One of the service's managers, by its name in ``ServiceContent`` (``taskManager``, ``ovfManager`` ...).

        Raises:
            LabError: this product has none.
        """
        found = getattr(self.content, name)
        if found is None:
            raise LabError(f"{self.about.fullName} has no {name}", host=self.host, operation="connect")
        return ref_of(found)

    def call(self, operation: str, ref: Ref, method: str, deadline: Deadline, *arguments: Any) -> Any:
        """Call a method, once; again only if the host refused it for want of a login.

        Args:
            operation: what it is for, in messages (``power on``).
            ref: whose method.
            method: its name in the API (``PowerOnVM_Task``).
            deadline: when to give up waiting for the answer.
            arguments: in the API's order; a :class:`Ref` where it wants an object, also in a list.

        Returns:
            What the method returns; objects as :class:`Ref`.

        Raises:
            InteropError: of the kinds that :mod:`~harness.backends.vsphere.errors` names.
        """
        return self.renewing(lambda: self.once(operation, ref, method, deadline, *arguments), deadline)

    def once(self, operation: str, ref: Ref, method: str, deadline: Deadline, *arguments: Any) -> Any:
        """As :meth:`call`, but raises :class:`LoggedOut` instead of logging in anew: for a step of a longer job."""
        arguments = tuple(bound(argument) for argument in arguments)
        wire = self._wire
        if method in _READS:
            return plain(self._patiently(method, lambda: wire.invoke(operation, ref, method, arguments, deadline)))
        return plain(wire.invoke(operation, ref, method, arguments, deadline))

    def renewing(self, work: Callable[[], T], deadline: Deadline) -> T:
        """Do ``work``; if the session turns out to be gone, log in anew and do it once more."""
        generation = self._generation
        try:
            return work()
        except LoggedOut:
            with self._lock:
                if generation == self._generation:  # else another thread did it meanwhile
                    self._login(deadline)
        return work()

    @contextlib.contextmanager
    def collector(self, deadline: Deadline) -> Iterator[Ref]:
        """A property collector that nobody else uses: filters of two threads on one would mix their updates."""
        with self._lock:
            generation = self._generation
            found = self._idle_collectors.pop() if self._idle_collectors else None
        if found is None:
            found = self.once("wait", self.manager("propertyCollector"), "CreatePropertyCollector", deadline)
        yield found
        with self._lock:  # one whose wait broke is not trusted again; it goes with the session
            if generation == self._generation:
                self._idle_collectors.append(found)

    def close(self) -> None:
        """Log out."""
        if self._closed.is_set():
            return
        self._closed.set()
        with contextlib.suppress(InteropError):
            self.once("close", self.manager("sessionManager"), "Logout", Deadline.after(5))
        self._wire.hang_up()

    def _agreed(self, deadline: Deadline) -> Any:
        """The service's content, in the newest version that both sides speak."""
        content = self._patiently("RetrieveServiceContent", lambda: self._content(deadline))
        version = newest_common(str(content.about.apiVersion))
        if version == _OLDEST:
            return content
        self._wire.hang_up()
        self._wire = self._new_wire(version, self._wire.trips)
        return self._patiently("RetrieveServiceContent", lambda: self._content(deadline))

    def _new_wire(self, version: str, trips: Counter[str] | None = None) -> Wire:
        wire = Wire(self.host, self.settings.address, self._context, version, self.settings.connect_seconds)
        wire.trips.update(trips or {})
        return wire

    def _content(self, deadline: Deadline) -> Any:
        return self._wire.invoke("connect", INSTANCE, "RetrieveServiceContent", (), deadline)

    def _login(self, deadline: Deadline) -> None:
        with self._lock:
            self._idle_collectors.clear()
            manager = self.manager("sessionManager")
            self._wire.cookie = ""  # who shows a session that still lives is refused another
            account = (self.settings.user, self.settings.reveal(), None)
            try:
                self._user = self._wire.invoke("log in", manager, "Login", account, deadline)
            except Unreachable:
                raise
            except LabError as error:
                if "InvalidLogin" not in error.message:
                    raise
                pause(0.5)  # vSphere 8 refuses right passwords now and then (pyvmomi issue 1100): ask once more
                try:
                    self._user = self._wire.invoke("log in", manager, "Login", account, deadline)
                except LabError as again:
                    raise LabError(
                        f"the account {self.settings.user} is refused at {self._wire.at}: {again.message}",
                        host=self.host,
                        operation="log in",
                        hint=again.hint,
                    ) from again
            self._generation += 1

    def _patiently(self, what: str, work: Callable[[], T]) -> T:
        """For what only reads: a connection that the host closed while it was idle, and a 503, are tried again."""
        for left in reversed(range(_TRIES)):
            try:
                return work()
            except (Unavailable, Unreachable) as error:
                cause = error.__cause__
                gone = isinstance(cause, (ConnectionError, ssl.SSLEOFError))
                gone = gone and not isinstance(cause, ConnectionRefusedError)
                if not left or not (gone or isinstance(error, Unavailable)):
                    raise
                pause(0.2)
        raise AssertionError(what)

    def _keep_alive(self) -> None:
        while not self._closed.wait(_KEEP_ALIVE):
            with contextlib.suppress(InteropError):  # whoever needs the session next is told
                self.call("keep alive", INSTANCE, "CurrentTime", Deadline.after(_ALIVE_SECONDS))


def newest_common(version: str) -> str:
    """The newest API version, as pyVmomi names it, that is not newer than what the host says it speaks."""
    asked = _numbers(version)
    known = {
        _numbers(name.partition("/")[2]): VmomiSupport.versionMap[name]
        for name in VmomiSupport.versionMap
        if re.fullmatch(r"vim25/\d+(\.\d+)+", name)
    }
    fitting = [numbers for numbers in known if numbers <= asked and numbers >= (5, 5)]
    return str(known[max(fitting)]) if fitting else _OLDEST


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)) or (0,)
