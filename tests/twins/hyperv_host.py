"""A twin host inside the test's own process, and real clients of it: pywinrm and pypsrp."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pypsrp.shell import WinRS
from pypsrp.wsman import WSMan
from winrm.protocol import Protocol

from harness.twins.hyperv.host import Host, HostSettings
from harness.twins.hyperv.plan import Planned
from harness.twins.hyperv.programs import plain
from harness.twins.hyperv.quotas import Quotas

USER, PASSWORD = "Administrator", "correct horse"

ECHO = "import sys\nfor line in sys.stdin.buffer:\n sys.stdout.buffer.write(line)\n sys.stdout.buffer.flush()\n"
WORDS = "import sys, json\nprint(json.dumps(sys.argv[1:]))\n"

PROGRAMS = {
    "cat": plain("/bin/cat"),
    "false": plain("/bin/false"),
    "pause": plain("/bin/sleep"),
    "lines": plain(sys.executable, "-ISc", ECHO),
    "words": plain(sys.executable, "-ISc", WORDS),
    "sh": plain("/bin/sh"),
}


@contextlib.contextmanager
def twin_host(folder: Path, *plan: dict[str, Any], **settings: Any) -> Iterator[Host]:
    """A host that goes wrong as ``plan`` says."""
    settings = {"unencrypted": True, "programs": PROGRAMS, **settings}
    if isinstance(settings.get("quotas"), dict):
        settings["quotas"] = Quotas(**settings["quotas"])
    entries = tuple(Planned.parse(entry) for entry in plan)
    with Host(HostSettings(folder=folder, accounts={USER: PASSWORD}, plan=entries, **settings)) as host:
        yield host


def winrm(host: Host, how: str = "basic", **options: Any) -> Protocol:
    """Pywinrm's low level client. ``how``: basic, ntlm (sealed), credssp, sealed+tls, ..."""
    transport, _, tls = how.partition("+")
    options = {"operation_timeout_sec": 1, "read_timeout_sec": 20, "proxy": None, "ca_trust_path": None, **options}
    if tls:
        options["ca_trust_path"] = options["ca_trust_path"] or str(host.identity.authority)
    if transport == "credssp" and not tls:
        options = {"message_encryption": "always", **options}
    if transport == "sealed":
        transport, options = "ntlm", {**options, "message_encryption": "always"}
    return Protocol(
        endpoint=host.https if tls else host.http,
        transport=transport,
        **{"username": USER, "password": PASSWORD, **options},
    )


def psrp(host: Host, auth: str = "ntlm", *, tls: bool = False, **options: Any) -> WSMan:
    """Pypsrp's client."""
    port = int((host.https if tls else host.http).rsplit(":", 1)[1].partition("/")[0])
    options = {"username": USER, "password": PASSWORD, "operation_timeout": 1, "read_timeout": 20, **options}
    if tls:
        options = {"cert_validation": str(host.identity.authority), **options}
    return WSMan("127.0.0.1", port=port, ssl=tls, auth=auth, no_proxy=True, reconnection_retries=0, **options)


def client_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A client certificate that signs itself, and its key: nobody but a host's mapping vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


def everything(client: Protocol, shell: str, command: str) -> tuple[bytes, bytes, int]:
    """All output of a command, patiently."""
    return client.get_command_output(shell, command)


def encoded(script: str) -> str:
    """A script as PowerShell takes it on a command line."""
    return base64.b64encode(script.encode("utf-16-le")).decode()


__all__ = [
    "PASSWORD",
    "PROGRAMS",
    "USER",
    "WinRS",
    "client_certificate",
    "encoded",
    "everything",
    "psrp",
    "twin_host",
    "winrm",
]
