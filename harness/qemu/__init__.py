"""What is known of QEMU without libvirt: acceleration, firmware, a restricted emulator, an L2 switch on loopback.

A leaf: it imports nothing else of the harness, so that the kvm backend and stand-in hosts can both stand on it.
"""

from harness.qemu.errors import QemuError

__all__ = ["QemuError"]
