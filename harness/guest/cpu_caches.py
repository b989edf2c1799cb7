"""Which CPUs of a guest share which cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.guest.cpus import CpuTopology, parse_cpu_list
from harness.guest.probe import Probe

_SYSFS = "/sys/devices/system/cpu"


@dataclass(frozen=True, slots=True)
class Cache:
    """One CPU's view of a cache.

    Args:
        level: 1, 2, 3 ...
        kind: ``Data``, ``Instruction`` or ``Unified``.
        cpus: those that share it, the CPU itself among them.
    """

    level: int
    kind: str
    cpus: frozenset[int]


@dataclass(frozen=True, slots=True)
class CpuCaches:
    """The caches of the online CPUs, by CPU number."""

    of: Mapping[int, tuple[Cache, ...]]

    def shared(self, level: int) -> dict[int, frozenset[int]]:
        """Who shares a CPU's cache of this level, its instructions' aside; CPUs without such a cache are absent."""
        return {
            cpu: cache.cpus
            for cpu, caches in self.of.items()
            for cache in caches
            if cache.level == level and cache.kind != "Instruction"
        }

    def contradictions(self, level: int, topology: CpuTopology) -> list[str]:
        """Where the map of this level's caches is at odds with itself or with the sockets; empty when it is sound."""
        shared = self.shared(level)
        found = [
            f"CPU {cpu} has no cache of level {level}, others have"
            for cpu in sorted(set(topology.places) - set(shared))
        ]
        for cpu, cpus in shared.items():
            if cpu not in cpus:
                found.append(f"CPU {cpu} is missing from its own list {sorted(cpus)}")
            found += [
                f"CPU {cpu} shares with {sorted(cpus)}, CPU {other} with {sorted(shared.get(other, ()))}"
                for other in sorted(cpus - {cpu})
                if shared.get(other) != cpus
            ]
            packages = {topology.places[other].package for other in cpus if other in topology.places}
            if len(packages) > 1:
                found.append(f"CPU {cpu} shares with {sorted(cpus)}, which sit in the sockets {sorted(packages)}")
        return found


def parse_caches(files: Mapping[str, bytes]) -> CpuCaches:
    """The files below ``cpuN/cache/indexM`` (kernel, Documentation/ABI/testing/sysfs-devices-system-cpu)."""
    values: dict[int, dict[int, dict[str, bytes]]] = {}
    for path, content in files.items():
        found = re.fullmatch(r".*/cpu(\d+)/cache/index(\d+)/(\w+)", path)
        if not found:
            raise ValueError(f"{path} is no file of a CPU's cache")
        values.setdefault(int(found[1]), {}).setdefault(int(found[2]), {})[found[3]] = content
    return CpuCaches(
        {
            cpu: tuple(
                Cache(int(each["level"]), each["type"].decode("ascii").strip(), parse_cpu_list(each["shared_cpu_list"]))
                for _, each in sorted(caches.items())
            )
            for cpu, caches in sorted(values.items())
        }
    )


CACHES = Probe.files(
    "CPU caches",
    parse_caches,
    *(f"{_SYSFS}/cpu[0-9]*/cache/index[0-9]*/{name}" for name in ("level", "type", "shared_cpu_list")),
)
"""The caches of each online CPU: ``/sys/devices/system/cpu/cpuN/cache/indexM``."""
