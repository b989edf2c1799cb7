"""ed25519 key pairs in OpenSSH's formats: host keys for seeds, login keys for slots."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair as OpenSSH keeps it in files.

    Args:
        private: the private key file's text; kept out of ``repr``.
        public: one line, ``ssh-ed25519 AAAA...``, as ``authorized_keys`` and ``known_hosts`` hold it.
    """

    private: str = field(repr=False)
    public: str


HostKey = KeyPair


def generate(comment: str = "") -> KeyPair:
    """A fresh ed25519 key pair.

    Args:
        comment: put behind the public key.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    line = public.decode("ascii") + (f" {comment}" if comment else "")
    return KeyPair(private.decode("ascii"), line)
