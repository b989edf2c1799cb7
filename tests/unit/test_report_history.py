"""History in one file that a lab can keep with little care."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure import Better
from harness.report import cells, history
from harness.report.history import Entry, Night, PoolFacts
from harness.report.measured import Figure, Spread
from harness.report.summary import Verdict
from tests.unit.report_runs import result, run

START = datetime(2026, 1, 1, tzinfo=UTC)
FIGURE = Figure("boot", 31.5, "s", Better.LOWER, 0.25, Spread(9, 30.0, 31.0, 31.5, 32.0, 33.0))
ENTRY = Entry("L02", "", (("size", "2"),), "kvm", Verdict.PASSED, 31.75, (FIGURE,))


def night(name="r1", *entries, start=START, lab="lab") -> Night:
    """A run."""
    pools = {"kvm": PoolFacts("QEMU/libvirt", "8.2.2", "kvm"), "esxi8": PoolFacts("VMware ESXi", "8.0.2", "tcg", True)}
    return Night(name, lab, start, "debian12", "ab" * 8, "cd", "new-tools", pools, entries or (ENTRY,))


names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=8)
numbers = st.floats(-1e9, 1e9).map(lambda value: float(f"{value:.6g}"))
entries = st.builds(
    Entry,
    st.sampled_from(["C01", "L02", "ACME-001"]),
    st.sampled_from(["", "reboot"]),
    st.lists(st.tuples(names, names), max_size=2, unique_by=lambda pair: pair[0]).map(sorted).map(tuple),
    st.sampled_from(["kvm", "esxi8"]),
    st.sampled_from(Verdict),
    st.integers(0, 10**6).map(lambda value: value / 1000),
    st.builds(Figure, names, numbers, names, st.sampled_from(Better), st.none() | numbers.map(abs)).map(
        lambda one: (one,)
    ),
)
nights = st.builds(
    lambda number, found: night(f"r{number}", *found, start=START + timedelta(days=number)),
    st.integers(0, 5),
    st.lists(entries, min_size=1, max_size=4, unique_by=lambda one: one.key).map(
        lambda found: sorted(found, key=lambda one: one.key)
    ),
)


@settings(max_examples=50, deadline=None)
@given(nights)
def test_a_run_comes_back_from_its_line_as_it_was(one):
    assert history.load(history.dump(one)) == one


@settings(max_examples=20, deadline=None)
@given(st.permutations([replace(ENTRY, check=f"C0{number}") for number in range(4)]))
def test_the_same_run_is_the_same_bytes_in_whatever_order_its_results_were_read(found):
    assert history.dump(night("r1", *found)) == history.dump(night("r1", *sorted(found, key=lambda one: one.key)))


@settings(max_examples=30, deadline=None)
@given(st.lists(nights, max_size=4), st.lists(nights, max_size=4), st.lists(nights, max_size=4))
def test_merging_knows_no_order_and_counts_no_run_twice(one, two, three):
    whole = history.merge(one, two, three)
    assert history.merge(three, history.merge(two, one)) == whole == history.merge(whole, whole)
    assert len({found.run for found in whole}) == len(whole)


def test_files_of_two_controllers_merge_by_concatenation(tmp_path):
    history.add(tmp_path / "a", [night("r1"), night("r2")])
    history.add(tmp_path / "b", [night("r2"), night("r3")])
    whole = tmp_path / "whole"
    whole.write_bytes((tmp_path / "b").read_bytes() + (tmp_path / "a").read_bytes())
    assert [one.run for one in history.read(whole).nights] == ["r1", "r2", "r3"]


def test_runs_of_two_labs_with_one_name_stay_two():
    assert len(history.merge([night("r1"), night("r1", lab="other")])) == 2


def test_of_a_run_that_was_read_while_it_still_ran_the_fuller_line_stays():
    fuller = night("r1", ENTRY, replace(ENTRY, check="L03"))
    assert history.merge([fuller], [night("r1")]) == history.merge([night("r1")], [fuller]) == (fuller,)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"v":1,"run":"r9","time":"2026-0', "no JSON: Unterminated string"),
        ("<<<<<<< ours", "no JSON: Expecting value at character 1"),
        ('{"v":1,"lab":"lab"}', "it lacks 'run'"),
        (
            '{"v":1,"run":"r9","time":"2026-01-01T00:00:00Z","results":[{"check":"C01","pool":"kvm","status":"fine"}]}',
            "'fine' is not a valid Verdict",
        ),
        ('{"v":9,"run":"r9"}', "a newer one wrote it"),
        ("[]", "indices"),
        ("\udcff\udcfe", "no JSON"),
    ],
)
def test_a_damaged_line_is_named_and_takes_nothing_else_along(tmp_path, line, words):
    path = tmp_path / "runs.jsonl"
    text = "\n".join([history.dump(night("r1")), line, history.dump(night("r2")), ""])
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = history.read(path)
    assert [one.run for one in found.nights] == ["r1", "r2"]
    assert [one.line for one in found.damaged] == [2]
    assert words in found.damaged[0].words


def test_a_damaged_line_is_still_there_after_another_run_was_added(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(history.dump(night("r1")).encode() + b'\n{"v":9,"half\xff\n')
    found = history.add(path, [night("r2")])
    assert b'{"v":9,"half\xff\n' in path.read_bytes()
    assert [one.run for one in history.read(path).nights] == ["r1", "r2"] == [one.run for one in found.nights]


def test_adding_a_run_again_replaces_its_line(tmp_path):
    path = tmp_path / "runs.jsonl"
    history.add(path, [night("r1", ENTRY, replace(ENTRY, check="L03"))])
    history.add(path, [night("r1")])
    assert [len(one.entries) for one in history.read(path).nights] == [1]


def test_a_file_that_nothing_was_added_to_stays_untouched(tmp_path):
    path = tmp_path / "runs.jsonl"
    history.add(path, [night("r1")])
    before = path.stat().st_ino
    history.add(path, [night("r1")])
    assert path.stat().st_ino == before


def test_shards_of_one_run_are_one_run():
    (whole,) = history.together(
        [night("r1"), night("r1", replace(ENTRY, check="L03"), start=START + timedelta(hours=1))]
    )
    assert [one.check for one in whole.entries] == ["L02", "L03"]
    assert whole.start == START


def test_a_run_is_kept_with_all_that_it_was_of(tmp_path):
    results = run(tmp_path)
    result(results, "C01", "kvm", params=(("vcpus", "2"),))
    result(results, "I11 reboot", "esxi8", status="broken", fault="lab", message="LabError: gone")
    kept = history.of(cells.read(results))
    assert (kept.run, kept.lab, kept.image, kept.build) == ("r1", "lab", "debian12", "cd" * 8)
    assert kept.pools["esxi8"] == PoolFacts("VMware ESXi", "8.0.2", "tcg", twin=True)
    assert [(one.check, one.part, one.params, one.status, one.duration) for one in kept.entries] == [
        ("C01", "", (("vcpus", "2"),), Verdict.PASSED, 1.5),
        ("I11", "reboot", (), Verdict.LAB, 1.5),
    ]


def test_a_record_is_the_same_when_it_is_made_anew_from_raw_results(tmp_path):
    folders = [run(tmp_path, f"r{number}") for number in range(3)]
    for number, folder in enumerate(folders):
        result(folder, "L02", "kvm", start=1_767_225_600 + number, measured=[{"name": "boot", "value": number}])
    files = []
    for number, order in enumerate(itertools.permutations(folders)):
        files.append(tmp_path / f"{number}.jsonl")
        for folder in order:
            history.add(files[-1], [history.of(cells.read(folder))])
    assert len({path.read_bytes() for path in files}) == 1
    assert [json.loads(line)["run"] for line in files[0].read_text().splitlines()] == ["r0", "r1", "r2"]
