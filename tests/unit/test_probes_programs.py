"""The programs that run inside guests, run here where they can be: they are Linux programs like any other."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from harness.guest import cpus, disks, screen, timekeeping
from harness.guest.inside import program
from harness.guest.probe import Probe, ProbeFailed
from harness.guest.result import Result

CPUS = sorted(os.sched_getaffinity(0))


def run(name: str, *words: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-", *words], input=program(name), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_work_is_charged_to_the_cpu_it_ran_on() -> None:
    done = cpus.parse_work(run("busy", "0.2", *map(str, CPUS[:2])))
    assert set(done) == set(CPUS[:2])
    assert all(
        work.ran_on == {cpu} and work.rounds > 0 and work.span.total_seconds() >= 0.2 for cpu, work in done.items()
    )


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU has nobody to hand the time to")
def test_two_cpus_hand_each_other_the_time() -> None:
    seen = timekeeping.parse_handovers(run("handover", "0.3", str(CPUS[0]), str(CPUS[1])), (CPUS[0], CPUS[1]))
    assert seen.count > 0
    assert set(seen.backward) == set(seen.worst) == {"realtime", "monotonic"}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no system call numbers for this machine")
def test_a_system_call_for_the_time_is_noticed() -> None:
    seen = timekeeping.parse_clock_calls(run("clock_calls", "2000"))
    assert (seen.calls, len(seen.seconds), seen.proven) == (2000, 20, True)


def test_random_data_land_where_they_were_told_to(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(3 << 20))
    done = disks.parse_disk_data(run("disk_data", "fill", str(disk), "1024", str(2 << 20)))
    content = disk.read_bytes()
    assert (done.size, done.error) == (2 << 20, "")
    assert done.sha256 == hashlib.sha256(content[1024 : 1024 + (2 << 20)]).hexdigest()
    assert not any(content[:1024] + content[1024 + (2 << 20) :]), "something was written beside the place"


def test_a_disk_that_takes_no_more_is_told_with_the_kernels_words() -> None:
    done = disks.parse_disk_data(run("disk_data", "fill", "/dev/full", "0", "4096"))
    assert done.size == 0
    assert "No space left" in done.error


def test_a_disk_that_fails_half_way_is_told_with_what_it_took(tmp_path: Path) -> None:
    """A file that may not grow beyond 1.5 MiB takes one piece and a half, and no more (setrlimit(2))."""
    disk, most = tmp_path / "disk", 3 << 19
    disk.touch()
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
    argv = [sys.executable, "-", "fill", str(disk), "0", str(4 << 20)]
    text = limit.encode() + program("disk_data")
    done = disks.parse_disk_data(subprocess.run(argv, input=text, capture_output=True, timeout=60, check=True).stdout)
    assert (done.size, done.sha256) == (most, hashlib.sha256(disk.read_bytes()).hexdigest())
    assert "File too large" in done.error


def test_pixels_follow_the_frame_buffers_own_format() -> None:
    space: dict[str, object] = {"__name__": "draw"}
    exec(compile(program("draw"), "draw", "exec"), space)
    pixel = space["pixel"]
    assert pixel("ff8040", [(16, 8), (8, 8), (0, 8)], 4) == bytes.fromhex("4080ff00")  # type: ignore[operator]
    assert pixel("ff8040", [(11, 5), (5, 6), (0, 5)], 2) == (0b11111_100000_01000).to_bytes(2, "little")  # type: ignore[operator]


@pytest.mark.parametrize(
    "parse",
    [
        cpus.parse_work,
        disks.parse_round_trip,
        disks.parse_disk_data,
        screen.parse_mode,
        timekeeping.parse_clock_calls,
        lambda data: timekeeping.parse_handovers(data, (0, 1)),
    ],
)
@pytest.mark.parametrize("output", [b"Traceback (most recent call last):\n", json.dumps({"cpu": 0}).encode()])
def test_what_a_program_did_not_say_is_one_error_with_its_name(parse: object, output: bytes) -> None:
    with pytest.raises(ProbeFailed, match=r"^guest-1: the program does not read as expected"):
        Probe("the program", (), parse).value(Result((), 0, output, b""), "guest-1")  # type: ignore[arg-type]
