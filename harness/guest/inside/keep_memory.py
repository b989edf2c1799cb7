"""The only program of a crash kernel: keep the memory of the crashed one in a file, with holes for zeros: FROM TO."""

import os
import sys
from pathlib import Path

CHUNK = 1 << 20
EMPTY = bytes(CHUNK)


def keep(source: int, target: int) -> int:
    """Copy; returns the length."""
    length = 0
    while True:
        chunk = os.read(source, CHUNK)
        if not chunk:
            os.ftruncate(target, length)
            os.fsync(target)
            return length
        if chunk != EMPTY[: len(chunk)]:
            os.pwrite(target, chunk, length)
        length += len(chunk)


def main() -> None:
    """The file gets its name when it is whole."""
    source, target = sys.argv[1:]
    part = target + ".part"
    length = keep(os.open(source, os.O_RDONLY), os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    Path(part).rename(target)
    print(f"kept {length} bytes")


if __name__ == "__main__":
    main()
