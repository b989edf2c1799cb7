"""The identifiers of a disk's file systems, read without mounting: by them a guest tells which disk it booted."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.core import LabError
from harness.image.partitions import partitions

_SECTOR = 512
_KIB = 1024
_MBR_TABLE, _MBR_ENTRIES = 446, 4
_MBR_GPT, _MBR_EMPTY = 0xEE, 0


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where a file system keeps its magic word and its UUID, in bytes from its start."""

    magic: bytes
    magic_at: int
    uuid_at: int


_KINDS = (
    _Kind(b"\x53\xef", 1024 + 0x38, 1024 + 0x68),  # ext2, ext3, ext4: kernel, Documentation/filesystems/ext4/super.rst
    _Kind(b"XFSB", 0, 32),  # kernel, fs/xfs/libxfs/xfs_format.h
    _Kind(b"_BHRfS_M", 64 * _KIB + 0x40, 64 * _KIB + 0x20),  # kernel, include/uapi/linux/btrfs_tree.h
)


def file_systems(raw: Path) -> tuple[str, ...]:
    """The UUIDs of the ext, XFS and btrfs file systems on a raw disk, in its partitions or on all of it.

    What lies inside a logical volume or is encrypted is not found.
    """
    with raw.open("rb") as disk:
        found = [_uuid_at(disk, start) for start in (0, *_starts(raw, disk))]
    return tuple(dict.fromkeys(str(each) for each in found if each))


def _starts(raw: Path, disk: BinaryIO) -> list[int]:
    try:
        return [partition.offset for partition in partitions(raw)]
    except LabError:
        return _mbr_starts(disk)


def _mbr_starts(disk: BinaryIO) -> list[int]:
    """The four primary partitions of a disk without a GUID partition table."""
    disk.seek(0)
    sector = disk.read(_SECTOR)
    if sector[510:512] != b"\x55\xaa":
        return []
    entries = [sector[_MBR_TABLE + 16 * index :][:16] for index in range(_MBR_ENTRIES)]
    starts = [(entry[4], struct.unpack_from("<I", entry, 8)[0]) for entry in entries]
    return [first * _SECTOR for kind, first in starts if kind not in (_MBR_EMPTY, _MBR_GPT)]


def _uuid_at(disk: BinaryIO, start: int) -> uuid.UUID | None:
    for kind in _KINDS:
        disk.seek(start + kind.magic_at)
        if disk.read(len(kind.magic)) == kind.magic:
            disk.seek(start + kind.uuid_at)
            return uuid.UUID(bytes=disk.read(16))
    return None
