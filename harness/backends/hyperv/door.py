"""Where a host is and who we are there."""

from __future__ import annotations

import threading

import winrm.transport

from harness.backends.hyperv.errors import NoRight
from harness.backends.hyperv.settings import Settings
from harness.core import LabError, UsageError


class Door:
    """Where a host is and who we are there; shared by all connections to it, so that a password is tried once.

    Args:
        settings: the host's section of the lab file.
        host: the lab's name of the host.

    Raises:
        UsageError: a library for this way of proving the account is not installed.
    """

    def __init__(self, settings: Settings, host: str) -> None:
        self.settings = settings
        self.host = host
        self._lock = threading.Lock()
        self._refused: str | None = None
        available = {"kerberos": winrm.transport.HAVE_KERBEROS, "credssp": winrm.transport.HAVE_CREDSSP}
        if not available.get(settings.auth, True):
            raise UsageError(
                f"auth: {settings.auth} needs a library that is not installed",
                host=host,
                operation="connect",
                hint=f"pip install 'pywinrm[{settings.auth}]'",
            )

    def check(self) -> None:
        """Raises: LabError: the account was refused before; trying again would lock it out."""
        if self._refused is not None:
            raise self._no_login(self._refused)

    def refuse(self, why: str) -> LabError:
        """Remember that the account was refused."""
        with self._lock:
            self._refused = why
        return self._no_login(why)

    def _no_login(self, why: str) -> LabError:
        return NoRight(
            f"the host refused {self.settings.user or 'the certificate'}: {why}",
            host=self.host,
            operation="connect",
            hint="check `user` (DOMAIN\\name), what `password` refers to, and that the account is in the host's group "
            "Remote Management Users; it was tried once, so that it is not locked out",
        )
