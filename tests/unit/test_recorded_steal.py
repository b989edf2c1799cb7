"""C15 on recorded counters: no host here shows its guests steal time, so the check is run on what guests wrote."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from harness.backends.model import Shape
from harness.backends.views import HostFacts
from harness.core import GiB, GuestError
from harness.guest.cpu_steal import Burnt, burn, parse_burnt
from harness.guest.inside import program
from harness.guest.result import Result
from suites.vcpu import test_steal as suite
from tests.end_to_end.defects import STOLEN

FACTS = HostFacts("QEMU/libvirt", "9.0.0", "9.0.0", "kvm", 2, GiB, 8)


@dataclass(frozen=True)
class Hard:
    """A limit that a lab has calibrated."""

    least: float
    most: float

    def allows(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most} %"


LIMITS = {"C15.quiet": Hard(0, 1), "C15.overcommit": Hard(20, 100)}
EXPECT: Any = SimpleNamespace(limit=LIMITS.__getitem__, duration=lambda _: timedelta(seconds=10))

ALONE = {"user": 996, "nice": 0, "system": 3, "idle": 0, "iowait": 0, "irq": 0, "softirq": 1, "steal": 0}
BESIDE = {"user": 502, "nice": 0, "system": 2, "idle": 0, "iowait": 0, "irq": 0, "softirq": 1, "steal": 495}


@dataclass
class Recorded:
    """A guest whose CPUs wrote this while they were busy."""

    ticks: tuple[dict[str, int], ...]
    name: str = "recorded"
    shape: Shape = field(default_factory=Shape)

    @property
    def cpus(self) -> Any:
        return SimpleNamespace(online=lambda: frozenset(range(len(self.ticks))))

    def run(self, argv: list[str], **_: Any) -> Result:
        lines = [json.dumps({"cpu": cpu, "ticks": ticks}) for cpu, ticks in enumerate(self.ticks)]
        return Result(tuple(argv), 0, "\n".join(lines).encode(), b"")


def quiet(*ticks: dict[str, int]) -> list[tuple[Any, ...]]:
    """Run the check of a quiet host; what it measured."""
    measured: list[tuple[Any, ...]] = []
    suite.test_a_quiet_host_steals_nothing(Recorded(ticks), EXPECT, lambda *said, **_: measured.append(said))  # type: ignore[arg-type]
    return measured


def overcommitted(*guests: tuple[dict[str, int], ...], lends: int | None = None) -> None:
    """Run the check of an overcommitted host."""
    waiting: Iterator[Recorded] = iter([Recorded(ticks) for ticks in guests])
    maker = SimpleNamespace(start=lambda **_: next(waiting))
    host = SimpleNamespace(name="host", facts=FACTS, settings=SimpleNamespace(limits=(lends, None, None)))
    suite.test_an_overcommitted_host_says_what_it_steals(maker, host, EXPECT, lambda *_, **__: None)  # type: ignore[arg-type]


def test_a_guest_that_has_its_host_alone_passes() -> None:
    assert quiet(ALONE, ALONE) == [("stolen_alone", 0.0)]


def test_steal_on_a_quiet_host_is_found() -> None:
    with pytest.raises(AssertionError, match=r"stolen from busy CPUs on a quiet host: 0.0 %, 49.5 %; not 0 to 1 %"):
        quiet(ALONE, BESIDE)


def test_a_guest_that_is_told_of_its_neighbour_passes() -> None:
    overcommitted((BESIDE, BESIDE), (BESIDE, BESIDE))


@pytest.mark.parametrize("defect", STOLEN)
def test_a_defect_is_caught(defect: str) -> None:
    with pytest.raises(AssertionError, match=r"all of 2 processors.*: (0|8)\.0 %, 49\.5 %"):
        overcommitted((BESIDE | STOLEN[defect], BESIDE), (BESIDE, BESIDE))


def test_a_lab_that_does_not_lend_so_much_is_skipped_with_the_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="the lab lends 3"):
        overcommitted(lends=3)


def test_parts_are_of_all_that_was_counted() -> None:
    line = json.dumps({"cpu": 1, "ticks": BESIDE})
    assert parse_burnt(line.encode()) == {1: Burnt(0.502, 0.495)}


@pytest.mark.parametrize("ticks", [(), ({"user": 0, "steal": 0},), ({"user": 5, "steal": -1},)])
def test_counters_that_make_no_sense_are_refused_by_name(ticks: tuple[dict[str, int], ...]) -> None:
    with pytest.raises(GuestError, match="recorded: time of busy CPUs"):
        burn(Recorded(ticks), timedelta(seconds=1))  # type: ignore[arg-type]


def test_the_program_counts_what_this_machine_counts() -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    argv = [sys.executable, "-", "0.5", *map(str, cpus)]
    said = subprocess.run(argv, input=program("burn"), capture_output=True, check=True).stdout
    burnt = parse_burnt(said)
    assert sorted(burnt) == cpus
    assert all(0 < cpu.user <= 1 and 0 <= cpu.stolen < 1 for cpu in burnt.values())
