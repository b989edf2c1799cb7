"""What the twin's HTTPS port shows."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from harness.twins import pki


@dataclass(frozen=True, slots=True)
class Identity:
    """What a TLS port shows.

    Args:
        authority: the PEM file of the CA that a client must trust.
        context: for the server's sockets.
        digest: SHA-256 of the certificate: what channel bindings and pins are made of.
    """

    authority: Path
    context: ssl.SSLContext
    digest: bytes


def make(folder: Path, host: str, kind: str = "valid") -> Identity:
    """As :func:`harness.twins.pki.issue`, ready for a server's sockets."""
    papers = pki.issue(folder, host, kind=kind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.certificate, papers.key)
    return Identity(papers.authority, context, bytes.fromhex(papers.thumbprint.replace(":", "")))


def take(context: ssl.SSLContext, clients: Mapping[Path, str]) -> dict[str, str]:
    """Let a server's sockets ask for client certificates, where there are any.

    Args:
        context: of the sockets.
        clients: accounts by the PEM file of each certificate.

    Returns:
        The accounts by SHA-256 of the certificates.
    """
    found = {}
    for file, account in clients.items():
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(file)
        found[x509.load_pem_x509_certificate(file.read_bytes()).fingerprint(hashes.SHA256()).hex()] = account
    return found
