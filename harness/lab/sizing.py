"""What this machine can lend to guests: processors and memory, as far as this process may use them."""

from __future__ import annotations

import os
from pathlib import Path

from harness.core import GiB, Size


def processors() -> int:
    """Processors this process may run on (affinity, and a control group's quota)."""
    count = len(os.sched_getaffinity(0))
    quota = _words(Path("/sys/fs/cgroup/cpu.max"))
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        count = min(count, max(1, round(int(quota[0]) / int(quota[1]))))
    return count


def memory() -> Size:
    """RAM this process may use (the machine's, or a control group's limit)."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _words(Path("/sys/fs/cgroup/memory.max"))
    if limit and limit[0].isdigit():
        total = min(total, int(limit[0]))
    return Size(total)


def lendable_vcpus() -> int:
    """Emulated and idle vCPUs share processors well: four to a processor, and room for two 8-vCPU guests at least."""
    return max(16, 4 * processors())


def lendable_memory() -> Size:
    """Three quarters of the RAM: the rest is for the controller, page cache and each QEMU's own needs."""
    return Size(max(GiB, memory() * 3 // 4))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
