"""What goes wrong between us and WinRM, in the harness's words; pywinrm raises a dozen kinds of exceptions."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET

import requests
import spnego.exceptions
import urllib3.exceptions
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)

from harness.backends.hyperv import trust
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.errors import Broken, Ended, NoRight, Unreachable
from harness.core import LabError

try:
    from requests_credssp.exceptions import AuthenticationException, NTStatusException
except ImportError:  # the extra is not installed, so nobody raises them
    _CREDSSP: tuple[type[Exception], ...] = ()
else:
    _CREDSSP = (AuthenticationException, NTStatusException)

_BUSY = 170  # ERROR_BUSY
_STATUS = {
    404: "something listens there that is no WinRM",
    405: "something listens there that is no WinRM",
    413: "the request is larger than the host's MaxEnvelopeSizekb",
    503: "the host's WinRM service is starting, stopping or overloaded",
}

# WSMan fault codes, from winerror.h and the fault documents of MS-WSMV.
# 2150859174, too many operations, is among them: only a new shell has new ones.
_GONE = {2150858843, 0x3E3, 0x4C7, 0x803381C4, 0x803381DE, 2150859174}
_QUOTAS = {
    2150859173: (
        "the account has as many shells as the host allows (MaxShellsPerUser): are those of killed runs open?",
        "`Get-Process winrshost` on the host shows them; end those of killed runs, or raise the quota: "
        "`Set-Item WSMan:\\localhost\\Shell\\MaxShellsPerUser 100`",
    ),
    2150859179: (
        "as many accounts have shells as the host allows (MaxConcurrentUsers)",
        "`Set-Item WSMan:\\localhost\\Shell\\MaxConcurrentUsers 20` on the host allows more",
    ),
    2150859241: (
        "the shell has as many processes as the host allows (MaxProcessesPerShell)",
        "`Set-Item WSMan:\\localhost\\Shell\\MaxProcessesPerShell 25` on the host allows what it does by default",
    ),
    2150858823: (
        "the request is larger than the host takes (MaxEnvelopeSizekb)",
        "`Set-Item WSMan:\\localhost\\MaxEnvelopeSizekb 500` on the host allows what it does by default",
    ),
}
"""What the host has too few of, and what to set there."""
_DENIED = {5, 0x80070005}
_ODD = (ET.ParseError, StopIteration, KeyError, IndexError, ValueError, AssertionError, struct.error)
SAID = (WinRMOperationTimeoutError, WSManFaultError)
"""The host answered, and the connection is as it was."""

FAULTS: tuple[type[Exception], ...] = (
    WinRMError,
    WinRMTransportError,
    spnego.exceptions.SpnegoError,
    OSError,  # of them: all of requests' own
    *_CREDSSP,
    *_ODD,
)
"""All that an exchange may raise."""


class Timeout(Exception):
    """The host has nothing to say yet. Not an error: ask again."""


class Overloaded(Exception):
    """Fault 170: ask again a little later."""


def translated(error: BaseException, door: Door) -> Exception:  # noqa: PLR0911 - one line a kind of error
    """What pywinrm raised, as one of ours.

    Args:
        error: one of :data:`FAULTS`.
        door: the host it came from.
    """
    host, url = door.host, door.settings.url
    if isinstance(error, (InvalidCredentialsError, *_CREDSSP)):
        return door.refuse()
    match error:
        case WinRMOperationTimeoutError():
            return Timeout()
        case WSManFaultError():
            return _fault(error, host)
        case WinRMTransportError():
            return _status(error, host)
        case requests.exceptions.SSLError():
            return trust.explained(error, host, url)
        case requests.exceptions.TooManyRedirects():
            return LabError("the host sends us elsewhere: is that WinRM?", host=host, operation="connect")
        case PermissionError():  # of requests_ntlm, and of our Kerberos
            hint = "`winrm get winrm/config/service/auth` on the host says what it offers"
            return LabError(
                f"the host does not offer {door.settings.auth}: {error}", host=host, operation="connect", hint=hint
            )
        case OSError():
            kind = Unreachable if _unconnected(error) else Broken
            hint = "is the host up, does WinRM listen there, and does the firewall let it through?"
            return kind(f"no connection to {url}: {_root(error)}", host=host, operation="connect", hint=hint)
    if isinstance(error, spnego.exceptions.SpnegoError | WinRMError):
        return Broken(f"a sealed message cannot be read: {error}", host=host, operation="connect")
    return Broken(f"the host's answer is not WS-Management: {error!r}", host=host, operation="connect")


def _fault(fault: WSManFaultError, host: str) -> Exception:
    code = fault.wsman_fault_code or 0
    words = " ".join(str(fault.reason).split())
    if code == _BUSY:
        return Overloaded(words)
    if code in _GONE:
        return Ended(f"the shell on the host is gone: {words}", host=host)
    if code in _QUOTAS:
        text, hint = _QUOTAS[code]
        return LabError(text, host=host, operation="connect", hint=hint)
    if code in _DENIED or (fault.fault_subcode or "").endswith("AccessDenied"):
        return NoRight(
            f"the account has no right to a shell: {words}",
            host=host,
            operation="connect",
            hint="add it to the host's group Remote Management Users, and for a local administrator set "
            "LocalAccountTokenFilterPolicy to 1: docs/hyperv-host.md",
        )
    return LabError(f"WinRM fault {code}: {words}", host=host, operation="connect")


def _status(error: WinRMTransportError, host: str) -> Exception:
    code = error.code
    if code == 400:  # a sealed message that the host cannot unseal: the connection was replaced under us
        return Broken("the host did not understand the message (HTTP 400)", host=host, operation="connect")
    kind = Broken if code == 503 else LabError
    return kind(f"the host answered HTTP {code}", host=host, operation="connect", hint=_STATUS.get(code))


def _unconnected(error: OSError) -> bool:
    """Whether there was no connection to begin with, so that nothing was sent."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _root(error: BaseException) -> str:
    """What really happened, without urllib3's wrappings."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
