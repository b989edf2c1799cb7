"""Write random data, make the kernel forget it, read it back: BYTES FOLDER."""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

CHUNK = 1 << 20


def main() -> None:
    """Print size and both checksums."""
    size = int(sys.argv[1])
    descriptor, path = tempfile.mkstemp(dir=sys.argv[2])
    written, read = hashlib.sha256(), hashlib.sha256()
    try:
        with os.fdopen(descriptor, "wb") as target:
            for offset in range(0, size, CHUNK):
                chunk = os.urandom(min(CHUNK, size - offset))
                target.write(chunk)
                written.update(chunk)
            target.flush()
            os.fsync(target.fileno())
        # What is left in the page cache would be read instead of the disk (Documentation/admin-guide/sysctl/vm.rst).
        Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
        with Path(path).open("rb") as source:
            for chunk in iter(lambda: source.read(CHUNK), b""):
                read.update(chunk)
    finally:
        Path(path).unlink()
    print(json.dumps({"size": size, "written": written.hexdigest(), "read": read.hexdigest()}))


if __name__ == "__main__":
    main()
