"""A certificate authority of a twin's own, so that clients verify it as they verify a real host."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)
_LIFE = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Papers:
    """What a TLS server needs and what its clients need.

    Args:
        authority: the CA's certificate: what clients trust.
        certificate: the server's, with its chain.
        key: the server's, readable by its owner alone.
        thumbprint: SHA-256 of the server's certificate, as ``AA:BB:...``.
    """

    authority: Path
    certificate: Path
    key: Path
    thumbprint: str


def issue(folder: Path, host: str, *, kind: str = "valid", now: datetime | None = None) -> Papers:
    """Make an authority and a server certificate for a host; the authority's key is kept nowhere.

    Args:
        folder: where the files go.
        host: its name; it is reached as 127.0.0.1 and localhost as well.
        kind: ``valid``; for tests of clients ``expired`` or ``other-host``.
        now: for tests.
    """
    now = now or datetime.now(UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(f"{host} twin authority")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), now - 2 * _DAY, now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    ends = now - timedelta(hours=1) if kind == "expired" else now + _LIFE
    server = (
        _builder(_name(host), authority_name, key.public_key(), now - 2 * _DAY, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_names(host, kind), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    papers = Papers(
        authority=folder / "ca.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        thumbprint=server.fingerprint(hashes.SHA256()).hex(":").upper(),
    )
    papers.authority.write_bytes(_pem(authority))
    papers.certificate.write_bytes(_pem(server) + _pem(authority))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(papers.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secret)
    return papers


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _names(host: str, kind: str) -> x509.SubjectAlternativeName:
    if kind == "other-host":
        return x509.SubjectAlternativeName([x509.DNSName("elsewhere.example")])
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName("localhost"), loopback])


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
