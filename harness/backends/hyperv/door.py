"""Where a host is and who we are there."""

from __future__ import annotations

import importlib.util
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
        self._refused = False
        missing = {
            "kerberos": (importlib.util.find_spec("gssapi") is not None, "interop-harness[kerberos]"),
            "credssp": (winrm.transport.HAVE_CREDSSP, "interop-harness[credssp]"),
        }
        there, package = missing.get(settings.auth, (True, ""))
        if not there:
            raise UsageError(
                f"auth: {settings.auth} needs a library that is not installed",
                host=host,
                operation="connect",
                hint=f"pip install '{package}'",
            )

    def check(self) -> None:
        """Raises: LabError: the account was refused before; trying again would lock it out."""
        if self._refused:
            raise self._no_login()

    def refuse(self) -> LabError:
        """Remember that the account was refused."""
        with self._lock:
            self._refused = True
        return self._no_login()

    def _no_login(self) -> LabError:
        why, check = _REFUSED.get(self.settings.auth, _REFUSED["ntlm"])
        return NoRight(
            f"the host refused {self.settings.user or 'the certificate'}: {why}",
            host=self.host,
            operation="connect",
            hint=f"check {check}, and that the account is in the host's group Remote Management Users; it was tried "
            "once, so that it is not locked out",
        )


_REFUSED = {
    "ntlm": ("its password is wrong, or it may not log in", "`user` (DOMAIN\\name), what `password` refers to"),
    "kerberos": (
        "it takes no ticket for this service, or the account may not log in",
        "that `spn` is the host's own (`setspn -L HOST` on a domain controller), its clock",
    ),
    "certificate": (
        "it maps the certificate to no account",
        "the host's mapping (`Get-ChildItem WSMan:\\localhost\\ClientCertificate`)",
    ),
}
"""By the way of logging in: what a refusal means, and what to look at."""
