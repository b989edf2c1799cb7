"""xdist with our scheduler: groups stay whole, who measures is alone, a worker's death is one test's."""

import inspect
import json
from itertools import combinations
from types import SimpleNamespace

import pytest
from xdist.scheduler import Scheduling

from harness.plugin.scheduling import Group, Member, Task
from harness.plugin.scheduling.host_scheduling import HostScheduling

pytest_plugins = ["pytester"]
# A test's parameter says where it belongs: host, group, and whether it measures.
CONFTEST = """
import json, os, time
import pytest
from harness.core.waiting import pause
from harness.plugin.scheduling import Group, Member, Task
from harness.plugin.scheduling.host_scheduling import HostScheduling

def group(collection):
    groups = {}
    for index, nodeid in enumerate(collection):
        host, name, kind, _ = nodeid.partition("[")[2].rstrip("]").split("-")
        groups.setdefault((host, name), []).append(Task(str(index), 0.1, kind == "quiet"))
    return [Group(name, (Member(host, "here"),), tuple(tasks)) for (host, name), tasks in groups.items()]

def pytest_xdist_make_scheduler(config, log):
    return HostScheduling(config, log, group)

open("alive-" + os.environ.get("PYTEST_XDIST_WORKER", "main"), "w").close()

def write(**line):
    with open("witness", "a") as file:
        file.write(json.dumps(line) + "\\n")

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    begun = time.monotonic()
    result = yield
    worker = os.environ["PYTEST_XDIST_WORKER"]
    write(test=item.callspec.id, worker=worker, begun=begun, ended=time.monotonic())
    return result
"""
TESTS = """
import os, signal, pytest
from conftest import pause
@pytest.mark.parametrize("spot", {spots})
def test_it(spot):
    pause(0.02)
    assert "fails" not in spot
    if "deadly" in spot:
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Inner:
    """An inner run, and what its workers wrote down of each test they ended."""

    def __init__(self, pytester: pytest.Pytester, done: pytest.RunResult) -> None:
        self.done = done
        self.output = done.stdout.str() + done.stderr.str()
        witness = pytester.path / "witness"
        self.ran = [json.loads(line) for line in witness.read_text().splitlines()] if witness.exists() else []

    def workers(self, start: str) -> set[str]:
        return {line["worker"] for line in self.ran if line["test"].startswith(start)}

    def times(self, test: str) -> int:
        return sum(line["test"] == test for line in self.ran)


@pytest.fixture
def inner(pytester, monkeypatch):
    """Runs tests of these names: ``host-group-kind-number``."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST)

    def run(spots: list[str], *arguments: str, source: str = TESTS) -> Inner:
        pytester.makepyfile(test_inner=source.format(spots=spots))
        options = ["-p", "xdist", "-p", "no:cacheprovider"]
        return Inner(pytester, pytester.runpytest_subprocess(*options, *arguments, timeout=120))

    return run


def numbered(start: str, count: int) -> list[str]:
    return [f"{start}-{number}" for number in range(count)]


def test_it_has_all_that_xdist_asks_a_scheduler_for():
    for name in (name for name in vars(Scheduling) if not name.startswith("_")):
        theirs, ours = getattr(Scheduling, name), getattr(HostScheduling, name)
        assert isinstance(ours, property) == isinstance(theirs, property)
        if not isinstance(theirs, property):
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


class Node:
    """A worker as the scheduler sees it, that keeps what it is told."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.shutting_down = False
        self.told: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.told += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_a_worker_that_somebody_else_ends_is_told_nothing_more():
    config = SimpleNamespace(getvalue=lambda _: ["popen"], pluginmanager=SimpleNamespace(register=lambda *_: None))
    member = (Member("kvm", "here"),)
    tests = [str(number) for number in range(5)]
    scheduling = HostScheduling(
        config,
        SimpleNamespace(hostsched=lambda *_: None),
        lambda _: [Group("a", member, tuple(Task(t, 1) for t in tests))],
    )
    node = Node("gw0")
    scheduling.add_node(node)
    scheduling.add_node_collection(node, tests)
    scheduling.schedule()
    assert node.told == [0, 1]
    node.shutdown()
    scheduling.mark_test_complete(node, 0, 1.0)
    scheduling.mark_test_complete(node, 1, 1.0)
    assert node.told == [0, 1]
    assert not scheduling.tests_finished
    assert scheduling.remove_node(node) is None


def test_a_group_stays_on_one_worker_and_hosts_go_to_different_ones(inner):
    run = inner([*numbered("near-a-loud", 3), *numbered("far-a-loud", 3)], "-n", "2")
    run.done.assert_outcomes(passed=6)
    assert len(run.workers("near")) == len(run.workers("far")) == 1
    assert run.workers("near") != run.workers("far")


def test_who_measures_is_alone_while_three_workers_are_busy(inner):
    spots = [spot for name in "abc" for kind in ("loud", "quiet") for spot in numbered(f"near-{name}-{kind}", 3)]
    run = inner(spots, "-n", "3")
    run.done.assert_outcomes(passed=18)
    assert len(run.workers("near")) == 3
    for one, other in combinations(run.ran, 2):
        if "quiet" in one["test"] + other["test"]:
            assert one["ended"] <= other["begun"] or other["ended"] <= one["begun"]


def test_a_death_is_reported_on_the_test_that_ran_and_the_rest_of_its_group_moves_on(inner):
    spots = ["near-a-loud-0", "near-a-deadly-0", *numbered("near-a-loud", 4)[1:], *numbered("far-a-loud", 2)]
    run = inner(spots, "-n", "2")
    run.done.assert_outcomes(passed=6, failed=1)
    assert "crashed while running 'test_inner.py::test_it[near-a-deadly-0]'" in run.output
    assert [run.times(spot) for spot in spots if "deadly" not in spot] == [1] * 6
    assert len(run.workers("near-a-loud")) == 2


def test_a_test_that_kills_its_worker_is_not_run_again(inner):
    run = inner(["near-a-deadly-0", "near-b-loud-0"], "-n", "2")
    run.done.assert_outcomes(passed=1, failed=1)
    assert run.output.count("node down") == 1


@pytest.mark.parametrize(
    "wait",
    ["", "wait_for('its successor', lambda: os.path.exists('alive-gw2') or Pending('no'), Deadline.after(60))"],
    ids=["while it is let begin the next", "while it waits"],
)
def test_a_worker_that_dies_between_two_tests_fails_none(inner, wait):
    """The first test is over, and the second may not begin: it waits to measure while the one that kills it runs."""
    source = """
import os, pytest
from conftest import pause
from harness.core.waiting import wait_for
from harness.core import Deadline, Pending

@pytest.mark.parametrize("spot", {spots})
def test_it(spot):
    if spot == "near-a-loud-0" and not os.path.exists("victim"):
        with open("part", "w") as file:
            file.write(str(os.getpid()))
        os.rename("part", "victim")
    if spot == "far-a-loud-0":
        wait_for("the other's first test", lambda: os.path.exists("witness") or Pending("no"), Deadline.after(60))
        if not os.path.exists("alive-gw2"):
            with open("victim") as file:
                os.kill(int(file.read()), 9)
        {wait}
"""
    spots = ["near-a-loud-0", "near-a-quiet-0", "near-a-loud-1", "far-a-loud-0", "far-a-loud-1"]
    run = inner(spots, "-n", "2", source=source.replace("{wait}", wait))
    run.done.assert_outcomes(passed=5)
    assert "replacing crashed worker" in run.output
    assert [run.times(spot) for spot in spots] == [1] * 5


def test_where_no_worker_may_be_replaced_a_death_ends_the_run_and_says_so(inner):
    run = inner(["near-a-deadly-0", *numbered("near-a-loud", 3)], "-n", "2", "--max-worker-restart", "0")
    assert run.done.ret != 0
    assert "worker restarting disabled" in run.output


def test_a_run_that_stops_at_the_first_failure_ends(inner):
    run = inner([*numbered("near-a-fails", 4), *numbered("far-a-fails", 4)], "-n", "2", "-x")
    assert run.done.ret == pytest.ExitCode.INTERRUPTED
    assert "stopping after 1 failures" in run.output


def test_workers_that_collect_different_tests_end_the_run(inner):
    source = """
import os, pytest
@pytest.mark.parametrize("spot", [f"near-a-loud-{{os.environ.get('PYTEST_XDIST_WORKER')}}"])
def test_it(spot): ...
"""
    run = inner([], "-n", "2", source=source)
    assert "Different tests were collected" in run.output
    assert run.ran == []


def test_a_run_that_selects_nothing_ends(inner):
    assert inner(["near-a-loud-0"], "-n", "2", "-k", "nothing").done.ret == pytest.ExitCode.NO_TESTS_COLLECTED
