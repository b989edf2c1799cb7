"""Read a PTP clock between two readings of the wall clock: DEVICE PROBES.

A clock behind a file is read by clock_gettime(2) like any other: its number is made of the descriptor (kernel,
include/linux/posix-timers.h, ``FD_TO_CLOCKID``).
"""

import json
import os
import sys
import time

CLOCKFD = 3


def main() -> None:
    """Print an object a probe: wall clock before, PTP clock, wall clock after; or why the PTP clock cannot be read."""
    try:
        # The two readings that some drivers compare are theirs to make: no ioctl, no right to set the clock.
        device = os.open(sys.argv[1], os.O_RDONLY)
        clock = (~device << 3) | CLOCKFD
        for _ in range(int(sys.argv[2])):
            before = time.clock_gettime(time.CLOCK_REALTIME)
            told = time.clock_gettime(clock)
            after = time.clock_gettime(time.CLOCK_REALTIME)
            print(json.dumps({"before": before, "told": told, "after": after}))
    except OSError as error:
        print(json.dumps({"refused": str(error)}))


if __name__ == "__main__":
    main()
