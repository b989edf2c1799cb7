"""Which CPUs and how much memory the kernel says are in each NUMA node, read as it is written."""

import pytest

from harness.core import GuestError, MiB
from harness.guest.numa import NUMA, parse_numa
from harness.guest.result import Result

NODES = "/sys/devices/system/node"

# Debian 12 under QEMU, lines left out.
MEMINFO = b"""\
Node %(node)d MemTotal:         %(kib)d kB
Node %(node)d MemFree:          100 kB
Node %(node)d HugePages_Total:     0
"""


def tree(*nodes: tuple[bytes, int]) -> dict[str, bytes]:
    """The files of nodes with these CPUs and MiB of memory."""
    files = {}
    for node, (cpus, mib) in enumerate(nodes):
        files[f"{NODES}/node{node}/cpulist"] = cpus + b"\n"
        files[f"{NODES}/node{node}/meminfo"] = MEMINFO % {b"node": node, b"kib": mib << 10}
    return files


def test_each_node_has_its_cpus_and_memory() -> None:
    numa = parse_numa(tree((b"0-1", 400), (b"2-3", 500)))
    assert [(node.cpus, node.memory) for node in numa.nodes.values()] == [({0, 1}, 400 * MiB), ({2, 3}, 500 * MiB)]
    assert numa.memory == 900 * MiB
    assert numa.astray({0, 1, 2, 3}) == {}


def test_a_node_of_memory_alone_has_no_cpus() -> None:
    assert parse_numa(tree((b"0", 400), (b"", 500))).nodes[1].cpus == frozenset()


@pytest.mark.parametrize(
    ("second", "online", "astray"),
    [
        (b"0-3", {0, 1, 2, 3}, {0: 2, 1: 2}),
        (b"2", {0, 1, 2, 3}, {3: 0}),
        (b"2-3", {0, 1, 2}, {3: 1}),
    ],
    ids=["in two nodes", "in none", "not online"],
)
def test_a_cpu_that_is_not_in_just_one_node_is_astray(second: bytes, online: set[int], astray: dict[int, int]) -> None:
    assert parse_numa(tree((b"0-1", 400), (second, 500))).astray(online) == astray


@pytest.mark.parametrize(
    "files",
    [
        {},
        {f"{NODES}/node0/cpulist": b"0\n"},
        {**tree((b"0", 400)), f"{NODES}/node0/meminfo": b"Node 0 MemFree: 1 kB\n"},
        {**tree((b"0", 400)), f"{NODES}/has_cpu": b"0\n"},
    ],
    ids=["nothing", "no memory", "no total", "another file"],
)
def test_nodes_that_make_no_sense_are_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError):
        parse_numa(files)


def test_a_guest_without_nodes_is_one_error_with_probe_and_guest() -> None:
    with pytest.raises(GuestError, match=r"^guest-1: NUMA nodes does not read"):
        NUMA.value(Result(NUMA.argv, 1, b"", b""), "guest-1")
