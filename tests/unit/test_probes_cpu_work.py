"""Who shares a cache, whom interrupts reach, and what CPUs do side by side: read as it is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core import GuestError
from harness.guest.cpu_caches import parse_caches
from harness.guest.cpu_interrupts import INTERRUPTS, parse_interrupts, parse_ping_pong, stop_watchdog
from harness.guest.cpu_speed import Speed, parse_speed
from harness.guest.cpus import CpuPlace, CpuTopology
from harness.guest.inside import program
from harness.guest.probe import Probe
from harness.guest.result import Result

CPU = "/sys/devices/system/cpu"
CPUS = sorted(os.sched_getaffinity(0))
BOTH = [str(cpu) for cpu in CPUS[:2]]

# Debian 12 under QEMU, some lines left out.
QEMU = b"""\
           CPU0       CPU1
  0:        104          0   IO-APIC   2-edge      timer
  8:          0          1   IO-APIC   8-edge      rtc0
 36:       1405          0   PCI-MSI 2097153-edge      virtio2-req.0
NMI:          0          0   Non-maskable interrupts
LOC:      11682      11240   Local timer interrupts
RES:         71         97   Rescheduling interrupts
CAL:       3553       4439   Function call interrupts
ERR:          0
MIS:          0
"""
# The lines of arch/x86/kernel/irq.c on Hyper-V; CPU 1 was taken out of service.
HYPERV = b"""\
            CPU0       CPU2       CPU3
  9:          0          0          2   IO-APIC   9-fasteoi   acpi
LOC:          0          0          0   Local timer interrupts
RES:       5125       4012       3922   Rescheduling interrupts
HYP:      84511      10123          0   Hypervisor callback interrupts
HRE:          0          0          0   Hyper-V reenlightenment interrupts
HVS:     120345      98711      91002   Hyper-V stimer0 interrupts
ERR:          0
"""


def test_interrupts_are_counted_by_line_and_cpu() -> None:
    seen = parse_interrupts(QEMU)
    assert seen.cpus == {0, 1}
    assert seen.counts["CAL"] == {0: 3553, 1: 4439}
    assert seen.counts["36"] == {0: 1405, 1: 0}
    assert seen.words["RES"] == "Rescheduling interrupts"
    assert seen.words["8"] == "IO-APIC 8-edge rtc0"


def test_columns_are_cpus_and_not_places() -> None:
    seen = parse_interrupts(HYPERV)
    assert seen.cpus == {0, 2, 3}
    assert seen.counts["HYP"] == {0: 84511, 2: 10123, 3: 0}
    assert seen.words["HVS"] == "Hyper-V stimer0 interrupts"


def test_what_is_counted_for_the_whole_machine_belongs_to_no_cpu() -> None:
    seen = parse_interrupts(QEMU)
    assert seen.counts["ERR"] == {}
    assert parse_interrupts(b"  CPU0\nERR:    0\n").counts["ERR"] == {0: 0}


def test_growth_is_told_by_cpu() -> None:
    before, after = parse_interrupts(QEMU), parse_interrupts(QEMU.replace(b" 11240", b" 11250"))
    assert after.since(before, "LOC") == {0: 0, 1: 10}
    assert after.since(before, "HVS") == {0: 0, 1: 0}
    assert after.total(["LOC", "RES"], before, [0]) == 0
    assert after.total(["LOC", "RES"], before, [0, 1]) == 10


@pytest.mark.parametrize("text", [b"", b"no header\n", QEMU + b"and then?\n"])
def test_interrupts_that_make_no_sense_are_refused_by_name(text: bytes) -> None:
    with pytest.raises(GuestError, match="/proc/interrupts"):
        INTERRUPTS.value(Result(INTERRUPTS.argv, 0, text, b""), "guest")


def test_this_machines_own_interrupts_can_be_read() -> None:
    seen = parse_interrupts(Path("/proc/interrupts").read_bytes())
    assert set(CPUS) <= seen.cpus


def caches(*shared: str, kind: str = "Unified", level: int = 3) -> dict[str, bytes]:
    """The files of one cache a CPU."""
    files = {}
    for cpu, cpus in enumerate(shared):
        folder = f"{CPU}/cpu{cpu}/cache/index3"
        files |= {
            f"{folder}/level": f"{level}\n".encode(),
            f"{folder}/type": f"{kind}\n".encode(),
            f"{folder}/shared_cpu_list": f"{cpus}\n".encode(),
        }
    return files


def sockets(*packages: int) -> CpuTopology:
    """CPUs in these sockets."""
    places = {
        cpu: CpuPlace(
            package, cpu, frozenset({cpu}), frozenset(other for other, its in enumerate(packages) if its == package)
        )
        for cpu, package in enumerate(packages)
    }
    return CpuTopology(places)


@pytest.mark.parametrize("shared", [("0-1", "0-1", "2-3", "2-3"), ("0", "1", "2", "3")])
def test_caches_within_sockets_are_sound(shared: tuple[str, ...]) -> None:
    assert parse_caches(caches(*shared)).contradictions(3, sockets(0, 0, 1, 1)) == []


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        (("0-3", "0-3", "0-3", "0-3"), "sit in the sockets [0, 1]"),
        (("0-1", "1", "2-3", "2-3"), "CPU 0 shares with [0, 1], CPU 1 with [1]"),
        (("1", "1", "2-3", "2-3"), "CPU 0 is missing from its own list"),
        (("0-1", "0-1", "2"), "CPU 3 has no cache of level 3"),
        (("0-1", "0-1", "2-4", "2-4"), "CPU 2 shares with [2, 3, 4], CPU 4 with []"),
    ],
)
def test_caches_that_contradict_are_told(shared: tuple[str, ...], words: str) -> None:
    found = parse_caches(caches(*shared)).contradictions(3, sockets(0, 0, 1, 1))
    assert any(words in each for each in found), found


def test_each_level_has_its_own_map() -> None:
    seen = parse_caches(
        caches("0", "1", kind="Instruction", level=1)
        | {f"{CPU}/cpu0/cache/index9/level": b"3\n"}
        | {
            f"{CPU}/cpu0/cache/index9/type": b"Unified\n",
            f"{CPU}/cpu0/cache/index9/shared_cpu_list": b"0-1\n",
        }
    )
    assert seen.shared(3) == {0: {0, 1}}
    assert seen.shared(1) == {}


def test_a_guest_without_caches_has_none() -> None:
    assert parse_caches({}).shared(3) == {}


@pytest.mark.parametrize(
    ("alone", "together", "speed_up"),
    [
        ({0: (100.0,), 1: (100.0,)}, {0: (100.0,), 1: (100.0,)}, 2.0),
        ({0: (100.0,), 1: (100.0,)}, {0: (50.0,), 1: (50.0,)}, 1.0),
        # Somebody else was busy now and then.
        ({0: (100.0, 30.0, 100.0), 1: (100.0, 90.0, 100.0)}, {0: (100.0, 90.0, 20.0), 1: (100.0, 90.0, 20.0)}, 2.0),
        # They take turns, unfairly: the best of one does not add up with the best of the other.
        ({0: (100.0, 100.0), 1: (100.0, 100.0)}, {0: (90.0, 10.0), 1: (10.0, 90.0)}, 1.0),
    ],
)
def test_speed_up_is_what_all_do_by_what_one_does(
    alone: dict[int, tuple[float, ...]], together: dict[int, tuple[float, ...]], speed_up: float
) -> None:
    assert Speed(alone, together, {}).speed_up == pytest.approx(speed_up)


def test_unrest_is_that_of_the_cpu_that_had_most_of_it() -> None:
    steady, uneasy = (100.0, 100.0, 100.0, 100.0, 100.0), (100.0, 20.0, 60.0, 140.0, 100.0)

    def unrest(alone: dict[int, tuple[float, ...]]) -> float:
        return Speed(alone, alone, {}).unrest

    assert unrest({0: steady, 1: steady}) == 0
    assert unrest({0: steady, 1: uneasy}) == pytest.approx(0.4)
    # One odd trial of many is nothing.
    assert unrest({0: (*steady, 10.0), 1: (*steady, 100.0)}) == 0


def test_speed_ups_that_waver_are_unrest_and_those_of_cpus_that_take_turns_are_none() -> None:
    steady, uneasy = (100.0, 100.0, 100.0, 100.0, 100.0), (100.0, 20.0, 60.0, 140.0, 100.0)
    turns = tuple(rate / 2 for rate in steady)
    assert Speed({0: steady, 1: steady}, {0: uneasy, 1: uneasy}, {}).unrest == pytest.approx(0.4)
    assert Speed({0: steady, 1: steady}, {0: turns, 1: turns}, {}).unrest == 0


@pytest.mark.parametrize(("cpus", "least"), [(2, 4 / 3), (4, 16 / 7)])
def test_foreign_load_leaves_no_less_than_the_formula_says(cpus: int, least: float) -> None:
    def shared_with(others: int) -> Speed:
        """Processors shared out fairly: what one program gets of ``cpus`` of them, with so many beside it."""
        alone, together = min(1.0, cpus / (1 + others)), cpus / (cpus + others)
        return Speed(dict.fromkeys(range(cpus), (alone,)), dict.fromkeys(range(cpus), (together,)), {})

    found = [shared_with(others).speed_up for others in range(20)]
    assert min(found) == pytest.approx(least) == shared_with(0).left_by_others


def test_most_trials_do_not_get_beyond_what_was_reached_at_best() -> None:
    ten = (10.0,) * 5
    assert Speed({0: ten, 1: ten}, {0: (5.0, 3.0, 4.0, 20.0, 1.0), 1: (0.0,) * 5}, {}).at_best == 0.5


def run(name: str, *words: str) -> bytes:
    """A guest's program, run here: it is a Linux program like any other."""
    done = subprocess.run(
        [sys.executable, "-", *words], input=program(name), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU has nobody to run beside")
def test_programs_run_side_by_side_where_they_were_pinned() -> None:
    seen = parse_speed(run("side_by_side", "0.05", "2", *BOTH))
    assert {cpu: len(rates) for cpu, rates in seen.alone.items()} == dict.fromkeys(CPUS[:2], 2)
    assert seen.ran_on == {cpu: {cpu} for cpu in CPUS[:2]}
    assert len(seen.speed_ups) == 2


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU has nobody to wake up")
def test_two_cpus_wake_each_other_up() -> None:
    seen = parse_ping_pong(run("ping_pong", "10", *BOTH))
    assert (seen.rounds, seen.ran_on) == (10, tuple(CPUS[:2]))


@pytest.mark.parametrize(
    "fields", [{}, {"alone": {}, "together": {}, "ran_on": {}}, {"alone": {"0": []}, "together": {}, "ran_on": {}}]
)
def test_work_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises((ValueError, LookupError)):
        parse_speed(json.dumps(fields).encode())


class Watched:
    """A guest whose watchdog's file holds this; what was typed into it."""

    def __init__(self, watchdog: bytes) -> None:
        self.watchdog = watchdog
        self.typed: list[bytes] = []

    def read(self, probe: Probe[bool]) -> bool:
        return probe.value(Result(probe.argv, 0, self.watchdog, b""), "guest")

    def run(self, argv: list[str], stdin: bytes) -> None:
        assert argv == ["tee", "/proc/sys/kernel/nmi_watchdog"]
        self.typed.append(stdin)


@pytest.mark.parametrize(("file", "typed"), [(b"+1\n", [b"0\n"]), (b"+0\n", []), (b"", [])])
def test_a_watchdog_is_stopped_where_there_is_one(file: bytes, typed: list[bytes]) -> None:
    guest = Watched(file)
    stop_watchdog(guest)  # type: ignore[arg-type]
    assert guest.typed == typed
