"""Pywinrm's protocol, tamed: nothing from the environment, a pinned certificate, and errors of ours.

The traps are those of pywinrm 0.5 and of NTLM over HTTP: sealed messages belong to one TCP connection, and a connection
that is closed is silently replaced and then spoils all that follows; time-outs, proxies and CA bundles come from the
environment unless told otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from winrm.exceptions import WinRMError
from winrm.protocol import Protocol
from winrm.transport import Transport

from harness.backends.hyperv import trust
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.faults import FAULTS, SAID, Overloaded, translated
from harness.core import Deadline, LabError
from harness.core.waiting import pause

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_OPERATION_SECONDS = 20
_GRACE = 10.0  # the read must outlast the operation, or the host answers nobody
_IDLE_SECONDS = 60.0  # http.sys closes after 120 s; a sealed message sent on a connection after that spoils the session
_BUSY_TRIES, _BUSY_SECONDS = 3, 5.0


class Tamed(Transport):
    """Sessions that take nothing from the environment, follow nowhere, and check the pin.

    Pywinrm builds a session when it first needs one and again after each close, and where it seals it sends a message
    while it does; so a session is changed at both moments.

    Args:
        thumbprint: SHA-256 of the one certificate to take; None: any that the CAs vouch for.
        options: as of the base.
    """

    def __init__(self, thumbprint: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._thumbprint = thumbprint

    @property
    def stale(self) -> bool:
        """Whether the login of this session ends soon."""
        return False

    def build_session(self) -> requests.Session:
        """As the base's."""
        if self.session is None:
            self.encryption = None  # it belonged to the connection before
        return self._changed(super().build_session())

    def setup_encryption(self, session: requests.Session) -> None:
        """As the base's."""
        super().setup_encryption(self._changed(session))

    def _changed(self, session: requests.Session) -> requests.Session:
        session.trust_env = False
        session.max_redirects = 0
        if not isinstance(session.adapters.get("https://"), trust.Adapter):
            session.mount("https://", trust.Adapter(self._thumbprint))
        return session


class Wire:
    """One connection to a host, of one thread.

    Args:
        door: where and as whom.

    Raises:
        LabError: the password is not where the lab file says, or pywinrm refuses what the lab file asks for.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        settings = door.settings
        try:
            self._protocol = Protocol(settings.url, username="-", password="", proxy=None, ca_trust_path=None)  # type: ignore[arg-type]
            self._transport = self._protocol.transport = _transport(door)
        except WinRMError as error:
            raise LabError(str(error), host=door.host, operation="connect") from error
        self._used: float | None = None

    def call(self, work: Callable[[Protocol], T], deadline: Deadline, *, seconds: int | None = None) -> T:
        """Do one exchange.

        Args:
            work: the exchange.
            deadline: when to give up.
            seconds: how long the host may take to answer; None: as long as it may for most.

        Raises:
            Timeout: the host has nothing to say within that time.
            Broken: the connection broke; another may reach the same shell.
            Ended: the shell or its command is gone.
            LabError: all else.
        """
        for left in range(_BUSY_TRIES, -1, -1):
            try:
                return self._once(work, deadline, _OPERATION_SECONDS if seconds is None else seconds)
            except Overloaded as error:
                if not left or deadline.seconds < _BUSY_SECONDS:
                    raise LabError(
                        "the host is busy and stays so", host=self._door.host, operation="connect"
                    ) from error
                pause(_BUSY_SECONDS)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Drop the connection; the next exchange makes another."""
        self._transport.close_session()
        self._used = None

    def _once(self, work: Callable[[Protocol], T], deadline: Deadline, most: int) -> T:
        self._door.check()
        if self._transport.stale or (self._used is not None and time.monotonic() - self._used > _IDLE_SECONDS):
            self.close()
        seconds = max(1, min(most, int(deadline.seconds)))
        self._protocol.operation_timeout_sec = seconds
        # Requests takes a pair as well: else a host that is not there costs all the time that an answer may take.
        self._transport.read_timeout_sec = (_CONNECT_SECONDS, seconds + _GRACE)  # type: ignore[assignment]
        try:
            result = work(self._protocol)
        except SAID as error:
            self._used = time.monotonic()
            raise translated(error, self._door) from error
        except FAULTS as error:
            self.close()  # whatever it was, a sealed session that missed a message is spoiled
            raise translated(error, self._door) from error
        except LabError:  # no ticket
            self.close()
            raise
        self._used = time.monotonic()
        return result


def _transport(door: Door) -> Tamed:
    settings = door.settings
    pinned = settings.thumbprint is not None and settings.ca is None
    common: dict[str, Any] = {
        "endpoint": settings.url,
        "server_cert_validation": "ignore" if pinned else "validate",
        "ca_trust_path": trust.authorities(settings.ca, door.host),
        "proxy": None,
    }
    if settings.auth == "kerberos":
        from harness.backends.hyperv import kerberos  # noqa: PLC0415 - its library need not be there otherwise

        return kerberos.Ticketed(door, seal=not settings.tls, **common)
    return Tamed(
        settings.thumbprint,
        auth_method=settings.auth,
        username=settings.user,
        password=settings.reveal(),
        cert_pem=None if settings.certificate is None else str(settings.certificate.expanduser()),
        cert_key_pem=None if settings.certificate_key is None else str(settings.certificate_key.expanduser()),
        message_encryption="auto" if settings.tls else "always",
        **common,
    )
