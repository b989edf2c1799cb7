"""The guest's memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core import Size
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """``/proc/meminfo``, proc(5).

    Args:
        total: RAM that the kernel manages: less than the machine has by what firmware and kernel keep for themselves.
        available: what programs could get without swapping.
    """

    total: Size
    available: Size


def parse_meminfo(data: bytes) -> MemoryInfo:
    """The lines that matter of ``/proc/meminfo``."""
    values = {}
    for line in data.decode("ascii").splitlines():
        found = re.fullmatch(r"(\w+):\s+(\d+) kB", line)
        if found:
            values[found[1]] = Size(int(found[2]) << 10)
    return MemoryInfo(values["MemTotal"], values["MemAvailable"])


MEMINFO = Probe.file("/proc/meminfo", parse_meminfo)


class Memory:
    """The memory of a guest. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def info(self) -> MemoryInfo:
        """Total and available: ``/proc/meminfo``."""
        return self._guest.read(MEMINFO)

    def total(self) -> Size:
        """RAM that the kernel manages: ``MemTotal`` of ``/proc/meminfo``."""
        return self.info().total
