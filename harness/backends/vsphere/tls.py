"""Whose certificate is trusted: one that CAs vouch for, or exactly the one whose thumbprint the lab file names.

Never none: pyVmomi given no context at all stops checking where the host is called ``localhost``, and its own pinning
checks the first connection of a pool only, so both are done here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from pathlib import Path
from typing import Any

from harness.backends.vsphere.errors import Unreachable
from harness.core import LabError

_LENGTHS = {40: hashlib.sha1, 64: hashlib.sha256}
_IN_THE_LAB_FILE = "if the host got a new certificate, compare it there and renew `thumbprint:` in the lab file"
_TOLD = "if the ESXi got a new certificate, reconnect it in the vSphere client, so that its vCenter tells the new one"

# OpenSSL's X509_V_ERR_*, x509_vfy(3)
_HINTS = {
    9: "its validity has not begun: compare the clocks of this machine and of the host",
    10: "it has expired: renew it on the host (and compare the clocks of this machine and of the host)",
    18: "it is signed by itself: name its SHA-256 `thumbprint:` in the lab file, or the file of its CA under `ca:`",
    19: "its CA is not known here: name the CA's file under `ca:` in the lab file",
    20: "its CA is not known here: name the CA's file under `ca:` in the lab file",
    62: "it was made for another name: write `endpoint:` as the certificate has it, or name its `thumbprint:`",
    64: "it was made for another address: write `endpoint:` as the certificate has it, or name its `thumbprint:`",
}


class Pinned(ssl.SSLContext):
    """A context that takes exactly one certificate, and says so before a byte of ours is sent."""

    thumbprint: str
    hint: str = _IN_THE_LAB_FILE

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As the base's, then the check."""
        wrapped = super().wrap_socket(*args, **kwargs)
        seen = thumbprint_of(wrapped.getpeercert(binary_form=True) or b"", len(self.thumbprint))
        if not hmac.compare_digest(seen, self.thumbprint):
            wrapped.close()
            raise WrongThumbprint(seen, self.thumbprint, self.hint)
        return wrapped


class WrongThumbprint(ssl.SSLError):
    """The endpoint shows another certificate than the pinned one."""

    def __init__(self, seen: str, pinned: str, hint: str) -> None:
        super().__init__(f"its thumbprint is {colons(seen)}, not {colons(pinned)}")
        self.hint = hint


def thumbprint_of(certificate: bytes, digits: int = 64) -> str:
    """The thumbprint of a DER certificate: SHA-256, or, with 40 digits, the SHA-1 that leases tell of their hosts."""
    return _LENGTHS[digits](certificate).hexdigest()


def colons(thumbprint: str) -> str:
    """A thumbprint as certificates' tools print it."""
    return ":".join(thumbprint[at : at + 2] for at in range(0, len(thumbprint), 2)).upper()


def context(ca: Path | None, thumbprint: str | None, host: str | None = None) -> ssl.SSLContext:
    """What connections are made with.

    Args:
        ca: a file of CA certificates; None: the system's.
        thumbprint: of the one certificate that is taken; with a CA file as well, both must fit.
        host: the lab's name of the host, for messages.

    Raises:
        LabError: the CA file cannot be read or holds no certificate.
    """
    try:
        if thumbprint is None:
            return ssl.create_default_context(cafile=None if ca is None else str(ca.expanduser()))
        pinned = _pinned(thumbprint)
        if ca is not None:
            pinned.verify_mode = ssl.CERT_REQUIRED
            pinned.load_verify_locations(str(ca.expanduser()))
    except (OSError, ssl.SSLError) as error:
        raise LabError(f"the CA file {ca} is of no use: {error}", host=host, operation="connect") from error
    return pinned


def told(thumbprint: str, host: str) -> ssl.SSLContext:
    """What an ESXi is spoken to with whose thumbprint its vCenter told, over a connection that was verified.

    Args:
        thumbprint: SHA-1, as leases tell it, or SHA-256; with colons or not. To pass for a given certificate another
            would have to be found with the same SHA-1, which is out of reach; vCenter itself knows its hosts so.
        host: the lab's name of the host, for messages.

    Raises:
        LabError: it is no thumbprint.
    """
    pinned = _pinned(thumbprint)
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", pinned.thumbprint):
        text = f"the lease tells {thumbprint!r} as the thumbprint of an ESXi, which is none"
        raise LabError(text, host=host, operation="connect")
    pinned.hint = _TOLD
    return pinned


def _pinned(thumbprint: str) -> Pinned:
    pinned = Pinned(ssl.PROTOCOL_TLS_CLIENT)
    pinned.thumbprint = thumbprint.replace(":", "").lower()
    pinned.check_hostname = False  # the very certificate is known, whatever name it was made for
    pinned.verify_mode = ssl.CERT_NONE
    return pinned


def explained(error: ssl.SSLError, host: str, address: str) -> LabError:
    """What went wrong with TLS as a lab error with the one thing to do about it."""
    if isinstance(error, WrongThumbprint):
        return LabError(
            f"the certificate of {address} is not the pinned one: {error.args[0]}",
            host=host,
            operation="connect",
            hint=error.hint,
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return LabError(
            f"the certificate of {address} is not trusted: {error.verify_message}",
            host=host,
            operation="connect",
            hint=_HINTS.get(error.verify_code, "docs/vsphere-host.md tells how to trust or pin it"),
        )
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        return Unreachable(f"the connection to {address} broke: {error}", host=host, operation="connect")
    hint = "does a TLS server listen there? vCenter and ESXi do on port 443"
    return LabError(f"no TLS with {address}: {error.reason or error}", host=host, operation="connect", hint=hint)
