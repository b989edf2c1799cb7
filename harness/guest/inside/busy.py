"""Spin on each of some CPUs in turn and say what the kernel charged to it: SECONDS CPU..."""

import json
import os
import sys
import time
from pathlib import Path


def user_ticks(cpu: int) -> int:
    """User and nice time of a CPU in USER_HZ: /proc/stat."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[0] == f"cpu{cpu}":
            return int(words[1]) + int(words[2])
    raise SystemExit(f"CPU {cpu} has no line in /proc/stat")


def running_on() -> int:
    """The CPU this process last ran on: field 39 of /proc/self/stat (proc(5))."""
    return int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[36])


def main() -> None:
    """Print one object a CPU."""
    seconds = float(sys.argv[1])
    for cpu in map(int, sys.argv[2:]):
        os.sched_setaffinity(0, {cpu})
        ran_on = {running_on()}
        before, began, rounds = user_ticks(cpu), time.monotonic(), 0
        while time.monotonic() - began < seconds:
            for _ in range(1000):
                rounds += 1
        span, ticks = time.monotonic() - began, user_ticks(cpu) - before
        ran_on.add(running_on())
        print(json.dumps({"cpu": cpu, "span": span, "ticks": ticks, "rounds": rounds, "ran_on": sorted(ran_on)}))


if __name__ == "__main__":
    main()
