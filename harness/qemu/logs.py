"""Serial logs that QEMU appends to for as long as a guest talks."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

KEPT_HEAD, KEPT_TAIL = 4 << 20, 16 << 20
MOST_LOG = 64 << 20
_PUNCH_HOLE_KEEP_SIZE = 0x03


def trim(log: Path) -> None:
    """Give the middle of an overlong log back to the file system; offsets stay what they are, and read as zeros."""
    try:
        blocks = log.stat().st_blocks * 512
    except FileNotFoundError:
        return
    if blocks > MOST_LOG:
        with log.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            punch(file.fileno(), KEPT_HEAD, size - KEPT_HEAD - KEPT_TAIL)


def punch(handle: int, offset: int, length: int) -> None:
    """``fallocate(2)`` with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, which Python's os module lacks."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate(handle, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length))
