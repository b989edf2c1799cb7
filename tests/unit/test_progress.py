"""Progress in a log, how runs stand, and the paragraph of a run: without a run."""

import io
import json
import os
import pty
from types import SimpleNamespace

import pytest

from harness.plugin.display import Lines, chosen, words
from harness.report.paragraph import About, paragraph
from harness.report.standing import Standing, running, span, standings
from harness.report.summary import Outcome, Verdict

ONE = Standing("1ngp62p04x", "berlin", "debian12", "", "/r", began=1000.0, total=340, counts={"passed": 10, "lab": 2})


def told(*steps):
    """What a log gets: steps are seconds that pass, or what is to be said of a test that ended."""
    now, lines = 1000.0, []
    display = Lines(ONE, lines.append, lambda: now)
    for step in steps:
        if isinstance(step, str):
            display.done(step)
        else:
            now += step
    return lines


def test_a_log_hears_of_the_whole_once_a_minute_at_most():
    assert told("", 59, "", 1, "", "", 59, "", 61, "") == [
        "12 of 340 done (10 passed, 2 lab), 1:00",
        "12 of 340 done (10 passed, 2 lab), 3:00",
    ]


def test_a_log_hears_of_each_failure_at_once_bounded_and_in_one_line():
    (line,) = told("failed C01 it is on hv1: \x1b[2J\x07of\na guest" + "x" * 1000)
    assert line.startswith("failed C01 it is on hv1: [2J of a guest")
    assert len(line) < 320


def test_what_is_left_is_said_where_it_is_known():
    assert words(ONE, 4850.0) == "12 of 340 done (10 passed, 2 lab), 1:04:10"
    ONE.left = 35.2
    try:
        assert words(ONE, 1001.0).endswith("0:01, about 0:35 to go")
    finally:
        ONE.left = 0.0


@pytest.mark.parametrize(
    ("waiting", "begun", "seconds", "left"),
    [
        (90, 10, 5, 45),  # as expected: two workers
        (90, 10, 1, 45),  # faster: nothing is promised of the others
        (80, 20, 20, 40 * 5 / 3),  # twice as slow, of which two thirds are believed
        (50, 50, 250, 25 * 8.5),
        (0, 100, 500, 0),
    ],
)
def test_a_run_that_lags_is_expected_to_go_on_so(waiting, begun, seconds, left):
    two = Standing("1ngp62p04x", "berlin", "debian12", "", "/r", began=1000.0, total=9, workers=2)
    two.foresee(waiting, begun, 1000.0 + seconds)
    assert two.left == pytest.approx(left)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (-3, "0:00"), (59.6, "1:00"), (3599, "59:59"), (7325, "2:02:05")]
)
def test_spans_are_short(seconds, said):
    assert span(seconds) == said


def test_a_dead_runs_standing_is_dropped_and_a_living_ones_stays(tmp_path, monkeypatch):
    """A run that was killed had no time to do it; half a file, or another version's, is none."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path))
    ONE.keep()
    Standing("dead", "berlin", "debian12", "", "/r", began=1.0).keep()
    (tmp_path / "standing" / "other.json").write_text('{"run": "other", "colour": "red"}')
    assert standings(["1ngp62p04x", "other"]) == {"1ngp62p04x": ONE}
    assert sorted(path.stem for path in (tmp_path / "standing").iterdir()) == ["1ngp62p04x", "other"]
    ONE.drop()
    assert standings(["1ngp62p04x"]) == {}


def test_what_runs_is_what_living_processes_noted(tmp_path):
    (tmp_path / ".running").mkdir()
    who = {"check": "C01", "title": "it is", "pool": "esxi8", "host": "esx-1", "parameters": [["n", "2"]]}
    for worker, pid in (("gw0", os.getpid()), ("gw1", 2**22 + 1)):
        note = {"start": 5000, "pid": pid, "identity": who}
        (tmp_path / ".running" / f"{worker}.json").write_text(json.dumps(note))
    (tmp_path / ".running" / "gw2.json").write_text("{")
    (one,) = running(tmp_path)
    assert (one.label, one.pool, one.host, one.worker, one.since) == ("C01 it is (n=2)", "esxi8", "esx-1", "gw0", 5.0)


def outcome(status=Verdict.PASSED, number=1, **more):
    return Outcome("vcpu", f"C{number:02d}", "it is", "kvm", "kvm-1", status, **more)


ABOUT = About("berlin", "1ngp62p04x", "debian12", "lis-4.3", "0.1.0", total=8, seconds=7325, where="/r")


def test_a_paragraph_says_first_what_came_out_then_what_to_look_at():
    outcomes = [outcome(Verdict.FAILED, number, reason="x\x1b\ny" * 100, twin=True) for number in range(1, 8)]
    said = paragraph([outcome(), *outcomes], ABOUT)
    assert said.startswith(
        "interop, lab berlin: 7 of 8 need a look; 8 tests in 2:02:05: 7 failed, 1 passed. Look at C01"
    )
    assert "C05 it is on kvm-1 (twin) (failed: x yx y" in said
    assert "C06" not in said
    assert "; and 2 more. Run 1ngp62p04x of image debian12, release lis-4.3, harness 0.1.0: /r" in said
    assert not set(said) & set("\x1b\n")
    assert len(said) < 1200


def test_a_run_that_was_stopped_and_one_in_which_all_is_well_say_so():
    """What is known, or skipped, needs no look; what warns is told."""
    fine = [outcome(), outcome(Verdict.KNOWN), outcome(Verdict.SKIPPED), outcome(warnings=("slow",))]
    said = paragraph(fine, ABOUT)
    assert "all is well; stopped after 4 of 8 tests" in said
    assert "2 passed, 1 failed as known, 1 skipped. 1 passed beyond a limit that only warns." in said
    assert "nothing ran." in paragraph([], About("berlin"))


def test_a_host_that_is_gone_is_named_once_and_a_flaky_pass_needs_a_look():
    gone = [outcome(Verdict.AWAY, number, reason="not available since 02:10") for number in range(1, 9)]
    said = paragraph([outcome(Verdict.FLAKY, 9, reason="passed at try 2"), *gone], ABOUT)
    assert said.count("kvm-1 (away: not available since 02:10)") == 1
    assert "C09 it is on kvm-1 (flaky: passed at try 2); kvm-1 (away" in said
    assert "8 left out because their host was gone, 1 passed only when tried again" in said


@pytest.fixture
def terminal():
    """The side of a terminal that a program writes to; what is written is read, so that nobody waits."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as file:
        yield file
    os.close(ours)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({}, "Below"),
        ({"CI": "true"}, "Lines"),
        ({"CI": "false"}, "Below"),
        ({"CI": "true", "progress": "live"}, "Below"),
        ({"TERM": "dumb"}, "Lines"),
        ({"capture": "no"}, "Lines"),
        ({"usepdb": True}, "Lines"),
        ({"progress": "lines"}, "Lines"),
        ({"progress": "none"}, "NoneType"),
        ({"verbose": -1}, "NoneType"),
        ({"pipe": True}, "Lines"),
        ({"pipe": True, "progress": "live"}, "Lines"),
    ],
    ids=str,
)
def test_a_block_is_for_terminals_that_people_look_at(terminal, monkeypatch, said, kind):
    """Anything else gets lines; who asked for quiet gets nothing."""
    monkeypatch.setenv("TERM", said.get("TERM", "xterm"))
    monkeypatch.delenv("CI", raising=False)
    if "CI" in said:
        monkeypatch.setenv("CI", said["CI"])
    file = io.StringIO() if "pipe" in said else terminal
    writer = SimpleNamespace(_file=file)
    options = {"verbose": 0, "capture": "fd", "usepdb": False} | said
    plugins = SimpleNamespace(get_plugin=lambda name: SimpleNamespace(_tw=writer))
    config = SimpleNamespace(pluginmanager=plugins, option=SimpleNamespace(**options))
    state = SimpleNamespace(config=config, say=print, options=SimpleNamespace(progress=said.get("progress", "auto")))
    display = chosen(state, ONE, lambda: 1000.0)
    assert type(display).__name__ == kind
    if display is not None:
        display.close()
    assert writer._file is file
