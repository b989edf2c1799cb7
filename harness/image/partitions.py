"""Reading a GUID partition table, to find the root file system of a disk without mounting it."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from harness.core import LabError

_SECTOR = 512
_LINUX_ROOTS = {
    uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4"),  # Linux file system data
    uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),  # Linux root (x86-64)
}
_EXT_MAGIC_AT = 1024 + 0x38
_EXT_MAGIC = b"\x53\xef"


@dataclass(frozen=True, slots=True)
class Partition:
    """One entry of the table: its type, and where it lies in bytes."""

    kind: uuid.UUID
    offset: int
    size: int


def partitions(raw: Path) -> list[Partition]:
    """The partitions of a raw disk (UEFI specification, 5.3: header at sector 1, entries where it says).

    Raises:
        LabError: the disk has no GUID partition table.
    """
    with raw.open("rb") as disk:
        disk.seek(_SECTOR)
        header = disk.read(92)
        if header[:8] != b"EFI PART":
            raise LabError(f"{raw} has no GUID partition table", operation="image variant")
        at, count, size = struct.unpack_from("<QII", header, 72)
        disk.seek(at * _SECTOR)
        table = disk.read(count * size)
    found = []
    for index in range(count):
        entry = table[index * size : index * size + size]
        first, last = struct.unpack_from("<QQ", entry, 32)
        if any(entry[:16]):
            kind = uuid.UUID(bytes_le=entry[:16])
            found.append(Partition(kind, first * _SECTOR, (last - first + 1) * _SECTOR))
    return found


def root_of(raw: Path) -> Partition:
    """The largest Linux partition that holds an ext2, ext3 or ext4 file system.

    Raises:
        LabError: there is none.
    """
    with raw.open("rb") as disk:
        candidates = []
        for partition in partitions(raw):
            disk.seek(partition.offset + _EXT_MAGIC_AT)
            if partition.kind in _LINUX_ROOTS and disk.read(2) == _EXT_MAGIC:
                candidates.append(partition)
    if not candidates:
        raise LabError(
            "no ext4 root partition on the disk",
            operation="image variant",
            hint="a variant can be made of images built here, and of others with ext4 on a GUID partition table",
        )
    return max(candidates, key=lambda partition: partition.size)
