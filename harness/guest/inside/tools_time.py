"""Ask a program for the host's time between two readings of the wall clock: PROGRAM ARGUMENTS...

The program asks the host through an I/O port (0x5658; open-vm-tools, lib/include/backdoor_def.h). VMware's own CPUs let
every program at it; one that looks like theirs wants it allowed (ioperm(2)), which lasts for the program's children.
"""

import ctypes
import json
import os
import subprocess
import sys
import time

PORT, WIDTH = 0x5658, 4


def main() -> None:
    """Print one object: wall clock before and after, what the program said, or why it said nothing."""
    ctypes.CDLL(None).ioperm(PORT, WIDTH, 1)  # refused by a locked-down kernel: then the CPU's word counts
    before = time.time()
    try:
        done = subprocess.run(  # noqa: UP022  guests may have Python 3.6
            sys.argv[1:],
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        status, said, complained = done.returncode, done.stdout, done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        status, said, complained = -1, b"", str(error).encode()
    found = {"before": before, "after": time.time(), "said": said.decode("ascii", "replace").strip()}
    if status:
        why = (complained or said).decode("ascii", "replace").strip()
        found["refused"] = f"status {status}: {why[-300:]}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
