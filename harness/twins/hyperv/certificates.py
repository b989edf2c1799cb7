"""What the twin's HTTPS port shows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

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
