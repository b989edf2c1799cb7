"""Whose certificate is trusted: one that CAs vouch for, or exactly the one whose thumbprint the lab file names."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from harness.core import LabError


class Adapter(HTTPAdapter):
    """Checks the pinned thumbprint on every connection, before a byte of ours is sent.

    Args:
        thumbprint: SHA-256 of the certificate, as hexadecimal digits; None: CAs alone decide.
    """

    def __init__(self, thumbprint: str | None) -> None:
        self._thumbprint = thumbprint
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As the base's, with the pin; the very certificate is known then, whatever name it was made for."""
        if self._thumbprint is not None:
            kwargs |= {"assert_fingerprint": self._thumbprint, "assert_hostname": False}
        super().init_poolmanager(*args, **kwargs)


def authorities(ca: Path | None, host: str) -> str | None:
    """The file of CA certificates to go by: the lab's, or the system's; None: those that come with ``requests``.

    Raises:
        LabError: the lab's file cannot be read or holds no certificate.
    """
    if ca is None:
        system = ssl.get_default_verify_paths()
        return system.cafile or system.capath
    path = ca.expanduser()
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        raise LabError(f"the CA file {ca} is of no use: {error}", host=host, operation="connect") from error
    return str(path)


# Parts of OpenSSL's messages, X509_verify_cert_error_string(3): requests keeps no number.
_HINTS = {
    "Fingerprints did not match": "the certificate is another one than the pinned: compare it on the host "
    "(Get-ChildItem Cert:\\LocalMachine\\My) and renew `thumbprint:` in the lab file",
    "not yet valid": "compare the clocks of this machine and of the host",
    "has expired": "renew it on the host, and compare the clocks of this machine and of the host",
    "self-signed certificate": "name its SHA-256 `thumbprint:` in the lab file, or the file of its CA under `ca:`",
    "unable to get local issuer": "name the file of its CA under `ca:`, or its SHA-256 `thumbprint:`, in the lab file",
    "mismatch": "write `endpoint:` as the certificate has it, or name its SHA-256 `thumbprint:`",
    "doesn't match": "write `endpoint:` as the certificate has it, or name its SHA-256 `thumbprint:`",
    "WRONG_VERSION_NUMBER": "no TLS is spoken there: WinRM has HTTPS on 5986, and HTTP on 5985 (`tls: false`)",
    "wrong version number": "no TLS is spoken there: WinRM has HTTPS on 5986, and HTTP on 5985 (`tls: false`)",
}


def explained(error: requests.exceptions.SSLError, host: str, url: str) -> LabError:
    """A failed handshake as a lab error with the one thing to do about it."""
    text = str(error)
    hint = next((hint for part, hint in _HINTS.items() if part in text), "docs/hyperv-host.md tells how to trust it")
    found = re.search(r"certificate verify failed: (.*?)( \(_ssl|$)", text)
    words = found[1] if found else text.rpartition("Caused by ")[2]
    return LabError(f"no TLS with {url}: {words}", host=host, operation="connect", hint=hint)
