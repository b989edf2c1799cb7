"""The benchmark of a night: its figures, and that what it counts is what a run over simulated hosts does."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks are not installed

from benchmarks import night, simulation
from benchmarks.__main__ import main
from benchmarks.simulated import ROUND_TRIP
from benchmarks.simulation import FACTS, Seen

MIB = 1 << 20


def seen(between=(0.005,) * 9, **changes):
    usual = {"tests": 10, "cpu": 1.0, "memory": 90 * MIB, "facts": (0.002,), "boots": 2, "fewest": 2, "spread": None}
    return Seen(between=tuple(between), **({"opening": ()} | usual | changes))


def by_name(lines):
    return {line.name: line for line in lines}


def test_a_cost_that_grows_with_the_number_of_tests_breaks_the_promise():
    """By a fifth at most; of several runs the least counts, for a busy machine makes none cheaper."""
    runs = {10: [seen((0.005,) * 8 + (9.0,))], 1000: [seen((0.02,) * 900), seen((0.0059,) * 900)]}
    bare = {10: [seen((0.001,) * 9)], 1000: [seen((0.001,) * 900, memory=60 * MIB)]}
    lines = by_name(night.by_tests(runs, bare))
    grown = lines["its growth from 10 to 1000 tests"]
    assert lines["processor time of a test over bare pytest's, 10 tests"].value == pytest.approx(5)
    assert lines["memory over bare pytest's, 1000 tests"].value == 1.5
    slower = {**runs, 1000: [seen((0.0061,) * 900)]}
    names = [line.name for line in night.by_tests(slower, bare) if not line.kept]
    assert names[:1] == [grown.name]
    assert all(line.kept for line in lines.values() if line.promise)


def test_a_cost_that_grows_with_the_number_of_hosts_breaks_the_promise():
    runs = {1: [seen()], 8: [seen(opening=(0.04,))], 64: [seen((0.0061,), opening=(0.05,))]}
    lines = night.by_hosts(runs)
    assert [line.name for line in lines if not line.kept] == ["cost of a test, 1 to 64 hosts"]
    assert by_name(lines)["cost of a host and its first guest, 8 to 64 hosts"].value == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sizes 10", "--sizes: growth is from one number to another"),
        ("--hosts 8 8", "--hosts: growth is from one number to another"),
        ("--sizes 10 25", "--sizes: tests come in tens, not in 25"),
    ],
)
def test_what_tells_no_growth_is_refused_before_a_night(capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        main(["night", *words.split()])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_boot_more_than_needed_breaks_the_promise():
    assert night.boots([seen(), seen()]).kept
    assert not night.boots([seen(), seen(boots=3)]).kept
    assert night.boots([seen(boots=3, spread=1.02)]).kept, "workers may boot the same at once, and that is told"


def test_facts_are_held_against_one_round_trip():
    """As it was recorded, whatever it was scaled by."""
    line = night.facts([seen(facts=(0.1 * ROUND_TRIP + 0.013,))], 0.1)
    assert line.value == pytest.approx((ROUND_TRIP + 0.013) / ROUND_TRIP)
    assert line.made_of.startswith(f"{FACTS / (ROUND_TRIP + 0.013):.0f} facts/s")


def test_a_night_is_as_recorded():
    """Every kind of test is there, and its time is scaled."""
    found = night.recorded(0.5)
    assert all(found.values())
    assert max(found["shared"]) == 0.5 * max(night.recorded(1)["shared"])


@pytest.fixture(scope="module")
def simulated():
    """Twenty tests on each of two hosts, and the same number that ask for nothing."""
    with simulation.place(2, 0.0) as place:
        return place.mixed(20), place.bare(40)


def test_simulated_hosts_boot_no_guest_twice(simulated):
    """Two shapes on two hosts; tests that change their guest get it back by a revert."""
    found, _ = simulated
    assert (found.tests, found.boots, found.fewest) == (40, 4, 4)


def test_a_simulated_run_measures_the_harness_itself(simulated):
    """All of its tests, and more than pytest costs alone; facts are really read."""
    found, bare = simulated
    assert (len(found.between), len(found.opening), len(bare.between)) == (2 * 13, 1, 39)
    assert night.host_cost([found]) > night.cost([found])
    assert night.cost([found]) > night.cost([bare]) > 0
    assert len(found.facts) == 2 * 14
    assert found.memory > bare.memory > 10 * MIB
