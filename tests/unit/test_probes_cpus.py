"""What the kernel writes about CPUs and memory, read as it is written, and refused by name when it is garbled."""

from datetime import timedelta

import pytest

from harness.core import GuestError
from harness.guest.cpus import (
    MASKS,
    TIMES,
    TOPOLOGY,
    CpuTopology,
    parse_cpu_list,
    parse_masks,
    parse_times,
    parse_topology,
    parse_work,
)
from harness.guest.memory import MEMINFO, parse_meminfo
from harness.guest.result import Result

CPU = "/sys/devices/system/cpu"

STAT = b"""\
cpu  1245 10 2310 90431 120 0 45 6 0 0
cpu0 600 10 1100 45000 60 0 40 2 0 0
cpu1 645 0 1210 45431 60 0 5 4 0 0
intr 912345 0 9 0
ctxt 123456
btime 1763860000
processes 1234
"""

MEMORY = b"""\
MemTotal:        1010316 kB
MemFree:          512000 kB
MemAvailable:     803212 kB
Buffers:            9000 kB
HugePages_Total:       0
"""


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        (b"0\n", {0}),
        (b"0-3\n", {0, 1, 2, 3}),
        (b"0-1,4,6-7\n", {0, 1, 4, 6, 7}),
        (b"\n", set()),
        (b"0-239\n", set(range(240))),
    ],
)
def test_a_list_of_cpus_is_a_set(text: bytes, cpus: set[int]) -> None:
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", [b"0-", b"3-1", b"0 1", b"a", b"-1", b"\xff"])
def test_a_garbled_list_of_cpus_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_cpu_list(text)


def test_masks_tell_possible_present_and_online_apart() -> None:
    masks = parse_masks({f"{CPU}/possible": b"0-7\n", f"{CPU}/present": b"0-3\n", f"{CPU}/online": b"0,2-3\n"})
    assert (len(masks.possible), len(masks.present), masks.online) == (8, 4, {0, 2, 3})


def test_each_cpu_has_its_own_times() -> None:
    times = parse_times(STAT)
    assert set(times) == {0, 1}
    assert times[0].user == timedelta(seconds=6.1)
    assert times[0].system == timedelta(seconds=11.4)
    assert times[1].steal == timedelta(seconds=0.04)


def test_memory_is_counted_in_kib() -> None:
    assert parse_meminfo(MEMORY).total == 1010316 * 1024


def topology(sockets: int, cores: int, threads: int) -> dict[str, bytes]:
    """The files of a machine with CPUs numbered thread by thread."""
    files = {}
    for cpu in range(sockets * cores * threads):
        core, socket = cpu // threads, cpu // (cores * threads)
        base = f"{CPU}/cpu{cpu}/topology"
        files[f"{base}/physical_package_id"] = b"%d\n" % socket
        files[f"{base}/core_id"] = b"%d\n" % (core % cores)
        files[f"{base}/thread_siblings_list"] = b"%d-%d\n" % (core * threads, core * threads + threads - 1)
        first = socket * cores * threads
        files[f"{base}/core_siblings_list"] = b"%d-%d\n" % (first, first + cores * threads - 1)
    return files


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 2), (4, 3, 1)])
def test_topology_counts_sockets_cores_and_threads(shape: tuple[int, int, int]) -> None:
    seen = parse_topology(topology(*shape))
    assert (seen.sockets, seen.cores_per_socket, seen.threads_per_core) == (shape[0], {shape[1]}, {shape[2]})
    assert seen.contradictions() == []


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("cpu0/topology/thread_siblings_list", b"0-2\n", "CPU 0 lists 1 among its threads"),
        ("cpu1/topology/core_siblings_list", b"0\n", "CPU 1 is missing from its own list of cores"),
        ("cpu0/topology/thread_siblings_list", b"0,9\n", "CPU 0 lists 9 among its threads"),
    ],
)
def test_maps_that_disagree_are_named(file: str, content: bytes, complaint: str) -> None:
    seen = parse_topology(topology(2, 2, 1) | {f"{CPU}/{file}": content})
    assert any(complaint in line for line in seen.contradictions())


def test_uneven_sockets_are_shown_as_such() -> None:
    whole = parse_topology(topology(2, 2, 1)).places
    assert CpuTopology({cpu: whole[cpu] for cpu in (0, 1, 2)}).cores_per_socket == {1, 2}


def test_work_says_what_the_kernel_charged() -> None:
    done = parse_work(b'{"cpu": 1, "span": 1.004, "ticks": 99, "rounds": 1200, "ran_on": [1]}\n')
    assert done[1].user == timedelta(seconds=0.99)
    assert done[1].ran_on == {1}


@pytest.mark.parametrize("probe", [MASKS, TOPOLOGY, TIMES, MEMINFO])
@pytest.mark.parametrize("output", [b"", b"\xff\xfe garbage\n", b"cpu0 many words\n"])
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(probe: object, output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: (CPU masks|CPU topology|/proc/stat|/proc/meminfo) does not read"):
        probe.value(Result(probe.argv, 0, output, b""), "guest-1")  # type: ignore[attr-defined]
