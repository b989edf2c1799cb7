"""The name of an image: sha256 of the disk as a guest reads it, whatever format holds it.

It is the sha256 of the raw disk, byte 0 to the last byte of its virtual size, holes read as zeros. Anyone can check it:
``qemu-img convert -O raw disk.vhdx disk.raw && sha256sum disk.raw``.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from harness.image.progress import SILENT, Progress

_BLOCK = 1 << 22
_ZEROS = memoryview(bytes(_BLOCK))


def digest_of_raw(path: Path, progress: Progress = SILENT, what: str = "hashing the disk") -> str:
    """sha256 of a raw file, in hex; holes are not read from the file system."""
    total = path.stat().st_size
    sha = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    with progress.step(what) as advance, path.open("rb", buffering=0) as raw:
        at = 0
        while at < total:
            data = _next_data(raw.fileno(), at, total)
            while at < data:
                sha.update(_ZEROS[: min(_BLOCK, data - at)])
                at += min(_BLOCK, data - at)
                advance(at / total)
            hole = os.lseek(raw.fileno(), at, os.SEEK_HOLE) if at < total else total
            raw.seek(at)
            while at < hole:
                read = raw.readinto(memoryview(buffer)[: min(_BLOCK, hole - at)])
                if not read:
                    raise OSError(errno.EIO, f"{path} ended early")
                sha.update(memoryview(buffer)[:read])
                at += read
                advance(at / total)
    return sha.hexdigest()


def digest_of_file(path: Path, progress: Progress = SILENT, what: str = "") -> str:
    """sha256 of a file's own bytes, in hex."""
    total = path.stat().st_size or 1
    sha = hashlib.sha256()
    done = 0
    with progress.step(what or f"hashing {path.name}") as advance, path.open("rb") as held:
        while chunk := held.read(_BLOCK):
            sha.update(chunk)
            done += len(chunk)
            advance(done / total)
    return sha.hexdigest()


def _next_data(descriptor: int, at: int, total: int) -> int:
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data after here
            return total
        raise
