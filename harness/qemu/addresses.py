"""Loopback addresses that need no allocation: derived from what they belong to, so that they are the same for ever.

All of 127.0.0.0/8 is this machine (RFC 1122, 3.2.1.3), so 2^22 addresses times 2^15 ports make a clash of two derived
ones a matter of theory; QEMU or the switch would refuse to bind.
"""

from __future__ import annotations

import hashlib


def udp(*belongs_to: str) -> tuple[str, int]:
    """The UDP address of what these words name, e.g. a machine's UUID and a NIC's MAC."""
    mark = hashlib.sha256("\0".join(belongs_to).encode()).digest()
    host = f"127.{128 + mark[0] % 64}.{mark[1]}.{1 + mark[2] % 254}"
    return host, 20000 + int.from_bytes(mark[3:5], "big") % 12000  # below Linux's range for outgoing ports
