"""Write random data straight onto a disk, or read what lies there: fill|read DEVICE OFFSET BYTES."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20


def fill(device: int, size: int) -> "Iterator[bytes]":
    """Write; gives each piece that the disk took, so that an error takes back none of them."""
    left = size
    while left:
        chunk = os.urandom(min(CHUNK, left))
        taken = os.write(device, chunk)
        left -= taken
        yield chunk[:taken]
    os.fsync(device)


def read(device: int, size: int) -> "Iterator[bytes]":
    """Read; gives each piece that came."""
    left = size
    while left:
        chunk = os.read(device, min(CHUNK, left))
        if not chunk:
            break
        left -= len(chunk)
        yield chunk


def main() -> None:
    """Print how much was moved, its checksum, and the error that ended it early."""
    act, path, offset, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    found, done, error = hashlib.sha256(), 0, ""
    if act == "read":
        # What is left in the page cache would be read instead of the disk (Documentation/admin-guide/sysctl/vm.rst).
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
    try:
        device = os.open(path, os.O_RDONLY if act == "read" else os.O_RDWR)
        try:
            os.lseek(device, offset, os.SEEK_SET)
            for piece in (read if act == "read" else fill)(device, size):
                found.update(piece)
                done += len(piece)
        finally:
            os.close(device)
    except OSError as problem:
        error = str(problem)
    print(json.dumps({"size": done, "sha256": found.hexdigest(), "error": error}))


if __name__ == "__main__":
    main()
