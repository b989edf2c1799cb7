"""Spin on all of some CPUs at once, and say what the kernel counted for them meanwhile: SECONDS CPU..."""

import json
import os
import sys
import time
from pathlib import Path

CHUNK = 20000  # rounds between two looks at the clock

COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""Of a CPU's line in /proc/stat (proc(5)); guest time, which follows, is a part of user time."""


def counted() -> "dict[int, list[int]]":
    """Ticks by CPU, column by column."""
    lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
    return {
        int(words[0][3:]): [int(word) for word in words[1 : 1 + len(COLUMNS)]]
        for words in lines
        if words and words[0].startswith("cpu") and words[0] != "cpu"
    }


def spin(cpu: int, until: float) -> None:
    """A process of its own, pinned."""
    os.sched_setaffinity(0, {cpu})
    while time.monotonic() < until:
        for _ in range(CHUNK):
            pass


def main() -> None:
    """Print a line for each CPU: the ticks that each column grew by."""
    seconds, cpus = float(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    before, until = counted(), time.monotonic() + seconds
    children = []
    for cpu in cpus:
        child = os.fork()
        if child == 0:
            spin(cpu, until)
            os._exit(0)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    after = counted()
    if failed:
        sys.exit("a process that should spin did not end well")
    for cpu in cpus:
        grown = [now - then for now, then in zip(after[cpu], before[cpu])]  # noqa: B905  guests may have Python 3.6
        print(json.dumps({"cpu": cpu, "ticks": dict(zip(COLUMNS, grown))}))  # noqa: B905


if __name__ == "__main__":
    main()
