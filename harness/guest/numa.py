"""The guest's NUMA nodes: which CPUs are in each, and how much memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from harness.core import Size
from harness.guest.cpus import parse_cpu_list
from harness.guest.probe import Probe


@dataclass(frozen=True, slots=True)
class NumaNode:
    """One node.

    Args:
        cpus: the online CPUs in it.
        memory: RAM of it that the kernel manages.
    """

    cpus: frozenset[int]
    memory: Size


@dataclass(frozen=True, slots=True)
class Numa:
    """All nodes, by number."""

    nodes: Mapping[int, NumaNode]

    @property
    def memory(self) -> Size:
        """RAM of all nodes together."""
        return Size(sum(node.memory for node in self.nodes.values()))

    def astray(self, online: Collection[int]) -> dict[int, int]:
        """Which of these CPUs are not in just one node, and in how many they are; CPUs that nobody named, too."""
        homes = Counter(cpu for node in self.nodes.values() for cpu in node.cpus)
        known = {*online, *homes}
        return {cpu: homes[cpu] for cpu in sorted(known) if homes[cpu] != 1 or cpu not in online}


def parse_numa(files: Mapping[str, bytes]) -> Numa:
    """The files of ``/sys/devices/system/node/nodeN`` (kernel, Documentation/ABI/stable/sysfs-devices-node)."""
    cpus: dict[int, frozenset[int]] = {}
    memory: dict[int, Size] = {}
    for path, content in files.items():
        found = re.fullmatch(rf"{_SYSFS}/node(\d+)/(\w+)", path)
        if not found:
            raise ValueError(f"{path} is no file of a node")
        node = int(found[1])
        if found[2] == "cpulist":
            cpus[node] = parse_cpu_list(content)
        else:
            total = re.search(rf"^Node {node} MemTotal:\s+(\d+) kB$", content.decode("ascii"), re.MULTILINE)
            if not total:
                raise ValueError(f"{path} says nothing of its total")
            memory[node] = Size(int(total[1]) << 10)
    if not cpus or cpus.keys() != memory.keys():
        raise ValueError("no nodes, or some without CPUs or memory")
    return Numa({node: NumaNode(cpus[node], memory[node]) for node in sorted(cpus)})


_SYSFS = "/sys/devices/system/node"

NUMA = Probe.files("NUMA nodes", parse_numa, *(f"{_SYSFS}/node[0-9]*/{name}" for name in ("cpulist", "meminfo")))
"""Which CPUs and how much memory are in each node: ``/sys/devices/system/node/nodeN/{cpulist,meminfo}``."""
