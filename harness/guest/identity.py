"""Who a guest is: what its seed gave it, so that no two guests alive share any of it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.backends.model import NicSpec
from harness.guest.ssh import Login


@dataclass(frozen=True, slots=True)
class Identity:
    """A guest's identity.

    Args:
        name: host name and display name.
        machine_id: ``/etc/machine-id``: 32 hexadecimal digits.
        nics: its NICs with MACs and addresses, in the order of creation.
        login: account, client key file and pinned host key.
    """

    name: str
    machine_id: str
    nics: tuple[NicSpec, ...]
    login: Login
