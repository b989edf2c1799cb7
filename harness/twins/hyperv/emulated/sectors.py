"""The logical sectors of disks. A VHDX keeps their size in its metadata, beside the disk's own; here it is in the
header of the qcow2 that stands for one, so that it goes wherever the file goes.

An extension of a type that QEMU does not know it leaves as it is (QEMU, ``docs/interop/qcow2.txt``, header extensions).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

USUAL: Final = 512
"""Of a VHDX, unless another size was asked for."""
_OURS: Final = 0x56484453  # "VHDS"
_MAGIC: Final = b"QFI\xfb"
_LENGTH_AT: Final = 100  # of the header, from version 3 on
_MOST: Final = 65536
"""How much of a file is looked at: all extensions are in its first cluster."""


def keep(place: Path, sector: int) -> None:
    """Write it into a new disk, which does not stand on another yet.

    Args:
        place: the qcow2 file.
        sector: in bytes.
    """
    with place.open("r+b") as file:
        end = _find(file.read(_MOST))[0]
        file.seek(end)
        file.write(struct.pack(">IIQII", _OURS, 8, sector, 0, 0))


def of(place: Path) -> int:
    """The logical sector of the disk in a file, in bytes: the usual one where nobody kept another."""
    with place.open("rb") as file:
        head = file.read(_MOST)
    return _find(head)[1] if head.startswith(_MAGIC) else USUAL


def _find(head: bytes) -> tuple[int, int]:
    """Where the extensions of a header end, and what ours among them says."""
    (at,) = struct.unpack_from(">I", head, _LENGTH_AT)
    sector = USUAL
    while True:
        kind, length = struct.unpack_from(">II", head, at)
        if kind == _OURS:
            (sector,) = struct.unpack_from(">Q", head, at + 8)
        if not kind:
            return at, sector
        at += 8 + (length + 7) // 8 * 8
