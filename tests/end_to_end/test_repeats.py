"""Checks do not cry wolf: on guests that have nothing wrong, a check that passes once passes every time.

By night (``INTEROP_REPEATS=all``) every check twenty times in the first column that can run it, in batches that a
journal keeps; else a few that only read, drawn by ``INTEROP_SEED``, a few times each.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass

import pytest

from tests.end_to_end.night import PLANTED, PRODUCT, Night
from tests.end_to_end.readers import READERS
from tests.end_to_end.telling import CALIBRATED, SUITES, draw

COLUMNS = ("kvm", "vsphere", "hyperv")
TIMES, ROUND, BATCH = 20, 5, 6
ALL = os.environ.get("INTEROP_REPEATS") == "all"


@dataclass(frozen=True)
class Share:
    """A part of the night that may run beside the others: some tests of a column, with a journal of its own."""

    column: str
    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.column} {self.number} of {self.of}"


SHARES = [Share("kvm", 1, 2), Share("kvm", 2, 2), Share("vsphere"), Share("hyperv")]


@pytest.fixture(autouse=True)
def _plugins(monkeypatch):
    """Inner runs find the plugin that repeats."""
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))


def select(run, column: str, words: list[str], times: int, source: str | None = None):
    """Run tests of the suites several times each, or a source; the statuses of each, by its name and parameters."""
    options = ["--calibration", str(CALIBRATED), "-p", "tests.end_to_end.repeating", "--again", str(times)]
    where = [] if source else [str(SUITES), "--rootdir", str(SUITES.parent)]
    choice = " or ".join(f"({word})" for word in words)
    done = run(*where, "-k", choice, *options, source=source, host=column, timeout=14400)
    statuses = defaultdict(list)
    for result in done.results:
        assert "again=" in result["name"], f"{result['name']} was not repeated"
        statuses[re.sub(r"again=\d+(, )?| \(again=\d+\)", "", result["name"])].append(result["status"])
    return statuses, done


def wolves(statuses: dict[str, list[str]]) -> dict[str, list[str]]:
    """What failed, if only once. A skip says that nothing can be said."""
    return {name: found for name, found in statuses.items() if set(found) - {"passed", "skipped"}}


MOODY = """
import pytest

@pytest.mark.check("ACME-001")
def test_it_holds(host, again):
    assert again != 2

@pytest.mark.check("ACME-002")
def test_it_stays(host, again):
    assert again >= 0
"""


def test_a_check_that_fails_once_is_found(run):
    """The proof of the proof: one of four times, and by nothing but its turn."""
    statuses, done = select(run, "kvm", ["test_it"], 4, MOODY)
    assert sorted(map(len, statuses.values())) == [4, 4], done.output
    assert list(wolves(statuses)) == ["ACME-001 it holds"]


@pytest.mark.skipif(ALL, reason="all of them are repeated")
def test_a_few_checks_come_to_the_same_each_time(run):
    """Three that share a guest, four times each."""
    words = draw(READERS, 3, str)
    statuses, done = select(run, "kvm", words, 4)
    assert len(statuses) == 3, done.output
    assert {len(found) for found in statuses.values()} == {4}, done.output
    assert not wolves(statuses), done.output


@pytest.fixture
def plan() -> dict[str, list[str]]:
    """Which tests each column repeats: each one the first column that can run it."""
    command = [sys.executable, "-m", "harness.cli", "checks", "--json"]
    done = subprocess.run(command, cwd=SUITES.parent, capture_output=True, text=True, check=True, timeout=900)
    able = defaultdict(set)
    for row in json.loads(done.stdout)["checks"]:
        if not row["why_not"]:
            able[row["title"]].add(row["column"])
    chosen = defaultdict(list)
    for title, columns in sorted(able.items()):
        chosen[next(column for column in COLUMNS if column in columns)].append("test_" + title.replace(" ", "_"))
    return chosen


def is_of(name: str, test: str) -> bool:
    """Whether a result, called by its check's number, its title and parameters, is of this test."""
    return name.split(" (", maxsplit=1)[0].partition(" ")[2] == test.removeprefix("test_").replace("_", " ")


def times_of(night: Night, test: str) -> int:
    """How often a test was repeated already."""
    return sum(one["times"] for one in night.all_of(f"repeat {test}"))


@pytest.mark.skipif(not ALL, reason="INTEROP_REPEATS=all repeats every check, for a night")
@pytest.mark.parametrize("share", SHARES, ids=str)
def test_no_check_cries_wolf(run, capsys, image, plan, share):
    """Twenty times each, with no verdict that differs; a batch that is done is never done again."""
    night = Night.of(*PRODUCT, *PLANTED, about=f"{image.digest} {share}")
    tests = plan[share.column][share.number - 1 :: share.of]
    while todo := [test for test in tests if times_of(night, test) < TIMES]:
        # Those that were repeated least, so that an early end leaves all of them known a little.
        batch = sorted(todo, key=lambda test: times_of(night, test))[:BATCH]
        statuses, done = select(run, share.column, batch, ROUND)
        night.note("verdicts", statuses=statuses)
        for test in batch:
            found = [len(verdicts) for name, verdicts in statuses.items() if is_of(name, test)]
            assert found, f"{test} came to nothing\n{done.output}"
            night.note(f"repeat {test}", times=min(found))
        left = sum(TIMES - times_of(night, test) for test in tests)
        with capsys.disabled():
            failed = len(wolves(statuses))
            sys.stdout.write(f"\n{share}: {failed} of {len(statuses)} failed in this batch; {left} repeats are left\n")
    verdicts = defaultdict(list)
    for batch in night.all_of("verdicts"):
        for name, found in batch["statuses"].items():
            verdicts[name] += found
    assert not wolves(verdicts)
    assert not {name for name, found in verdicts.items() if set(found) == {"skipped"}}, (
        "skipped each time: nothing shown"
    )
