"""Two processes on two CPUs hand each other the time: SECONDS CPU CPU.

Each reads a clock only after the other has finished reading it, so what it sees must not be earlier. A float holds
today's wall clock to 0.24 us and rounds without changing the order, so no step is invented.
"""

import ctypes
import json
import mmap
import os
import sys
import time

CLOCKS = {"realtime": time.CLOCK_REALTIME, "monotonic": time.CLOCK_MONOTONIC}


class Shared(ctypes.Structure):
    """The page both look at: whose turn it is, and what was read last."""

    _fields_ = (
        ("turn", ctypes.c_int),
        ("stop", ctypes.c_int),
        ("last", ctypes.c_double * 2),
        ("handovers", ctypes.c_longlong * 2),
        ("steps", ctypes.c_longlong * 4),
        ("worst", ctypes.c_double * 4),
    )


def play(shared: Shared, me: int, cpu: int, until: float) -> None:
    """One side: wait for the turn, read both clocks, compare, pass the turn on."""
    os.sched_setaffinity(0, {cpu})
    clocks = list(CLOCKS.values())
    read = time.clock_gettime
    while True:
        while shared.turn != me:
            if shared.stop:
                return
        for which in range(2):
            now = read(clocks[which])
            behind = shared.last[which] - now
            if behind > 0:
                shared.steps[2 * me + which] += 1
                shared.worst[2 * me + which] = max(shared.worst[2 * me + which], behind)
            shared.last[which] = now
        shared.handovers[me] += 1
        if read(time.CLOCK_MONOTONIC) > until:
            shared.stop = 1
            return
        shared.turn = 1 - me


def main() -> None:
    """Print one object for the pair."""
    until = time.monotonic() + float(sys.argv[1])
    first, second = int(sys.argv[2]), int(sys.argv[3])
    shared = Shared.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))
    child = os.fork()
    if child == 0:
        play(shared, 1, second, until)
        os._exit(0)
    play(shared, 0, first, until)
    status = os.waitpid(child, 0)[1]
    if status:
        raise SystemExit(f"the process on CPU {second} ended with {status}")
    print(
        json.dumps(
            {
                "handovers": min(shared.handovers),
                "steps": {name: shared.steps[at] + shared.steps[2 + at] for at, name in enumerate(CLOCKS)},
                "worst": {name: max(shared.worst[at], shared.worst[2 + at]) for at, name in enumerate(CLOCKS)},
            }
        )
    )


if __name__ == "__main__":
    main()
