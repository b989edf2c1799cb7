"""What tests took in earlier runs, and what they are expected to take."""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.plugin.scheduling import Group, Member, Task, durations, record
from harness.plugin.scheduling.durations import Durations
from harness.plugin.scheduling.tally import Tally


@pytest.fixture
def path(tmp_path):
    return tmp_path / "durations.json"


def noted(path, *took):
    known = Durations(path)
    known.note(took)
    return known


def test_a_test_is_expected_to_take_the_median_of_its_last_five_runs(path):
    for seconds in (900.0, 900.0, 10.0, 12.0, 11.0, 300.0, 13.0):
        noted(path, ("L02", "kvm", seconds))
    assert Durations(path).expected("L02", "kvm") == 12.0


def test_where_it_never_ran_its_runs_on_other_pools_count(path):
    known = noted(path, ("L02", "kvm", 10.0), ("L02", "esxi", 30.0), ("T01", "hyperv", 1.0))
    assert known.expected("L02", "hyperv") == 20.0


def test_a_new_test_is_expected_to_take_the_median_of_all(path):
    known = noted(path, ("L02", "kvm", 10.0), ("L01", "kvm", 2.0), ("T01", "kvm", 1.0))
    assert known.expected("N01", "kvm") == 2.0


def test_new_tests_do_not_look_through_all_known_ones_each(path, monkeypatch):
    """A night of many new tests after a night of many others would take the square of them."""
    known = noted(path, *((f"L{number}", "kvm", float(number)) for number in range(200)))
    asked = []
    monkeypatch.setattr(durations, "median", lambda values: asked.append(1) or statistics.median(values))
    assert {known.expected(f"N{number}", "kvm") for number in range(200)} == {99.5}
    assert len(asked) <= 201
    known.note([("L1", "kvm", 1000.0)] * 5)
    assert known.expected("N1", "kvm") == 100.5, "what was learnt since counts"


def test_on_the_first_night_all_are_expected_to_take_the_same(path):
    first = Durations(path)
    assert first.expected("L02", "kvm") == first.expected("T01", "esxi") > 0


@pytest.mark.parametrize("text", ["", "{", '{"version": 2, "tests": {}}', '{"version": 1, "tests": {"L02": [1]}}'])
def test_a_file_that_cannot_be_read_counts_as_none_and_is_replaced(path, text):
    path.write_text(text)
    noted(path, ("L02", "kvm", 10.0))
    assert json.loads(path.read_text()) == {"version": 1, "tests": {"L02": {"kvm": [10.0]}}}


def test_runs_that_end_together_lose_nothing(path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: noted(path, (f"T{number}", "kvm", 1.0)), range(24)))
    assert len(json.loads(path.read_text())["tests"]) == 24


def night() -> list[Group]:
    member = (Member("kvm", "here"),)
    return [
        Group("a", member, (Task("0", 1.0), Task("1", 1.0, quiet=True))),
        Group("b", member, (Task("2", 1.0), Task("3", 1.0))),
    ]


def test_a_night_is_read_as_it_was_written(tmp_path):
    record.write(tmp_path / "spread.json", night(), "a night")
    assert record.read(tmp_path / "spread.json") == night()


def test_a_run_is_held_against_what_its_tests_really_took():
    tally = Tally(night(), 2, begun=100.0)
    for test, seconds, now in (("0", 30.0, 130.0), ("2", 30.0, 131.0), ("1", 20.0, 152.0), ("3", 10.0, 165.0)):
        tally.note(test, seconds, now)
    assert (tally.makespan, tally.bound, tally.quiet) == (65.0, 60.0, 20.0)
    assert tally.words() == "1:05 min on 2 workers: 1.08 x the least possible (1:00 min, 20.0 s of measuring in quiet)"


def test_a_test_whose_worker_died_is_no_work_and_its_time_is_lost():
    tally = Tally(night(), 2, begun=0.0)
    tally.note("0", 10.0, 10.0)
    tally.lost(25.0)
    assert (tally.makespan, tally.bound) == (25.0, 10.0)


def test_one_worker_has_nothing_to_say_of_spreading():
    tally = Tally(night(), 1, begun=0.0)
    tally.note("0", 10.0, 10.0)
    assert tally.words() == ""
