"""Serial logs that QEMU appends to for as long as a guest talks."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

KEPT_HEAD, KEPT_TAIL = 4 << 20, 16 << 20
MOST_LOG = 64 << 20
_PUNCH_HOLE_KEEP_SIZE = 0x03


def trim(log: Path, *, most: int = MOST_LOG, head: int = KEPT_HEAD, tail: int = KEPT_TAIL) -> None:
    """Give the middle of an overlong log back to the file system; offsets stay what they are, and read as zeros.

    Args:
        log: may be absent.
        most: how much it may take before anything happens.
        head: how much of its beginning is kept.
        tail: how much of its end is kept.
    """
    try:
        blocks = log.stat().st_blocks * 512
    except FileNotFoundError:
        return
    if blocks > most:
        with log.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            _punch(file.fileno(), head, size - head - tail)


def _punch(handle: int, offset: int, length: int) -> None:
    """``fallocate(2)`` with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, which Python's os module lacks."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate(handle, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length))
