"""Performance counters of the hypervisor, of the kind that a host's load is read from.

The processors are this machine's, whatever the twin says it has: that is what guests share. A machine's time is that of
the QEMU behind it. As Windows' formatted classes do, each answers with the average since it was asked before, in whole
percent of one processor.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.twins.hyperv.emulated.machines import Vm

LOGICAL: Final = "win32_perfformatteddata_hvstats_hypervhypervisorlogicalprocessor"
VIRTUAL: Final = "win32_perfformatteddata_hvstats_hypervhypervisorvirtualprocessor"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_IDLE: Final = (3, 4)  # idle and iowait among the fields of a line (proc(5), /proc/stat)


@dataclass(slots=True)
class Performance:
    """Remembers what counters showed when they were read before."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    before: dict[str, tuple[float, float]] = field(default_factory=dict)

    def logical(self) -> list[dict[str, Any]]:
        """One row a processor of this machine, and their average."""
        lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
        spent = {
            f"Hv LP {words[0][3:]}": _busy(words[1:])
            for words in lines
            if words[0].startswith("cpu") and words[0] != "cpu"
        }
        return self._rows(spent, dict.fromkeys(spent, 1))

    def virtual(self, vms: Iterable[Vm]) -> list[dict[str, Any]]:
        """One row a virtual processor of each machine that runs: all of one machine alike, and the average of all."""
        spent: dict[str, float] = {}
        share: dict[str, int] = {}
        for vm in vms:
            seconds = _spent(vm) if vm.on else 0.0
            for number in range(vm.config.vcpus if vm.on else 0):
                name = f"{vm.name}:Hv VP {number}"
                spent[name], share[name] = seconds, vm.config.vcpus
        return self._rows(spent, share)

    def _rows(self, spent: Mapping[str, float], share: Mapping[str, int]) -> list[dict[str, Any]]:
        now = time.monotonic()
        shown: dict[str, int] = {}
        with self.lock:
            for name, seconds in spent.items():
                at, known = self.before.get(name, (now, seconds))
                self.before[name] = (now, seconds)
                used = max(0.0, seconds - known) / (now - at) if now > at else 0.0
                shown[name] = min(100, round(100 * used / share[name]))
        average = round(sum(shown.values()) / len(shown)) if shown else 0
        return [{"Name": name, "PercentTotalRunTime": value} for name, value in {**shown, "_Total": average}.items()]


def _busy(words: list[str]) -> float:
    """Seconds that a processor did not idle; guests' time is in that of users already."""
    return sum(int(word) for place, word in enumerate(words[:8]) if place not in _IDLE) / _TICKS


def _spent(vm: Vm) -> float:
    """Processor seconds of the QEMU behind a machine; 0 where there is none."""
    pid = vm.machine.pid if vm.machine is not None else None
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() if pid else []
    except OSError:  # it ended just now
        return 0.0
    return (int(words[11]) + int(words[12])) / _TICKS if words else 0.0
