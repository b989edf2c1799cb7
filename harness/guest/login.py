"""Who logs in to a guest, through whom, and whom they expect to meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.backends.model import Endpoint


@dataclass(frozen=True, slots=True)
class Jump:
    """A host to go through, as ``ssh -J`` does.

    Args:
        endpoint: where its ssh listens.
        user: the account there.
        known_hosts: the file that holds its host key: it is always verified.
        private_key: the key file for it; None: the ssh agent's keys.
    """

    endpoint: Endpoint
    user: str
    known_hosts: Path
    private_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and whom they expect to meet.

    Args:
        user: the account in the guest.
        private_key: the file of the client's key.
        host_key: the guest's public host key in OpenSSH's one-line form; None: the first one seen is kept
            (only for images that bring their own, where the harness cannot know it).
        jump: a host between the controller and the guest.
    """

    user: str
    private_key: Path
    host_key: str | None
    jump: Jump | None = None


def known_hosts(endpoint: Endpoint, host_key: str) -> str:
    """The known_hosts line that pins ``host_key`` for ``endpoint`` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT")."""
    return f"[{endpoint.address}]:{endpoint.port} {host_key}\n{endpoint.address} {host_key}\n"
