"""``interop calibrate`` on recorded nights: what it proposes, refuses and writes."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from harness.cli import interop
from harness.lab.calibration import load_calibration
from harness.lab.load import load_lab
from harness.report.nights import LIMITS

FIRST = datetime(2026, 2, 1, 22, tzinfo=UTC)
LAB = """
hosts:
  left: {backend: kvm, pool: pair}
  right: {backend: kvm, pool: pair}
networks:
  management: {kind: user}
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    path = tmp_path / "lab.yaml"
    path.write_text(LAB)
    return path


@pytest.fixture
def night(tmp_path):
    """Writes one result of one night, as a run does."""

    def night(
        day: int, check: str, key: str, value: float, *, status="passed", host="left", unit="s", sizes=None, **told
    ):
        folder = tmp_path / "out" / f"run-{day:02d}" / "results"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{check}-{len(list(folder.iterdir())):03d}"
        bounds = {"at_least": None, "at_most": 120.0, "unit": unit}
        limit = {"key": key, "value": value, "waited": False} | bounds | told
        (folder / f"{name}-attachment.json").write_text(json.dumps({"limits": [limit], "sizes": sizes or {}}))
        labels = {"check": check, "pool": "pair", "host": host}
        result = {
            "status": status,
            "start": int((FIRST + timedelta(days=day)).timestamp() * 1000),
            "labels": [{"name": label, "value": text} for label, text in labels.items()],
            "attachments": [{"name": LIMITS, "source": f"{name}-attachment.json"}],
        }
        (folder / f"{name}-result.json").write_text(json.dumps(result))

    return night


@pytest.fixture
def nights(night):
    """Twenty boots in five nights, from 21 to 28 s."""
    for number in range(20):
        night(number // 4, "L02", "L02.boot", 21.0 + number % 8, host=("left", "right")[number % 2])


@pytest.fixture
def typed(tmp_path, lab):
    def typed(*words: str):
        return CliRunner().invoke(interop, ["calibrate", str(tmp_path / "out"), "--lab", str(lab), *words])

    return typed


def error(done) -> str:
    assert done.exit_code == 1, done.output
    return str(done.exception)


def test_it_says_what_it_used_and_writes_nothing_unasked(nights, typed, tmp_path):
    done = typed()
    assert done.exit_code == 0, done.output
    assert "5 runs, 20 samples of 1 limit" in done.output
    row = next(line for line in done.output.splitlines() if line.startswith("L02.boot"))
    for word in ("pair", "20", "5", "21 to 28, half of them between", "at most 46 s", "at most 120 s"):
        assert word in row
    assert "nothing was written" in done.output
    assert [path.name for path in tmp_path.glob("*.yaml")] == ["lab.yaml"]


def test_what_it_writes_is_the_labs_own_limit_with_reason_date_and_samples(nights, typed, lab, tmp_path):
    lab.write_text(LAB + "calibration: own.yaml\n")
    done = typed("--write", "--reason", "since the new storage")
    assert done.exit_code == 0, done.output
    own = load_calibration(tmp_path / "own.yaml", load_lab(lab)).said.hosts["pair"].limits["L02.boot"]
    assert (own.at_most, own.samples, own.nights) == (46, 20, 5)
    assert own.reason == "since the new storage; seen between 2026-02-01 and 2026-02-05"
    assert own.date is not None
    assert own.margin == pytest.approx(7.6)


def test_without_a_file_named_by_the_lab_writing_needs_a_name(nights, typed, tmp_path):
    assert "add `calibration: FILE` to" in error(typed("--write"))
    done = typed("-o", str(tmp_path / "any.yaml"))
    assert done.exit_code == 0, done.output
    assert f"--calibration {tmp_path / 'any.yaml'}" in done.output
    assert (tmp_path / "any.yaml").exists()


def test_too_few_samples_are_refused_and_the_missing_ones_counted(night, typed, tmp_path):
    for number in range(7):
        night(number % 2, "L02", "L02.boot", 21.0 + number)
    done = typed("-o", str(tmp_path / "own.yaml"))
    assert "no limit has 20 samples of 3 nights" in error(done)
    assert "L02.boot on pair: 7 samples of 2 nights; 13 samples and 1 night missing" in done.output
    assert not (tmp_path / "own.yaml").exists()


def test_one_that_has_enough_is_written_though_another_has_not(nights, night, typed, tmp_path):
    night(0, "T17", "T17.late", 3.0, unit="ms")
    done = typed("-o", str(tmp_path / "own.yaml"))
    assert done.exit_code == 0, done.output
    assert "T17.late on pair: 1 sample of 1 night; 19 samples and 2 nights missing" in done.output
    assert "T17.late" not in (tmp_path / "own.yaml").read_text()


def test_failed_tests_hard_limits_and_limits_of_other_checks_count_for_nothing(nights, night, typed):
    night(0, "L02", "L02.boot", 500.0, status="failed")
    night(0, "C09", "C09.present", 3.0)
    night(0, "N09", "L02.boot", 400.0)
    done = typed()
    assert "6 runs" not in done.output
    assert "20 samples of 1 limit " in done.output
    assert "left out, for the test failed: 1 result" in done.output


def test_what_came_before_a_day_is_left_out(nights, typed):
    done = typed("--since", "2026-02-04", "--samples", "8", "--nights", "2")
    assert done.exit_code == 0, done.output
    assert "8 samples of 1 limit " in done.output


def test_samples_of_other_sizes_speak_of_another_thing(nights, night, typed):
    """Of thirty, twenty were made before the size was changed; they are no samples of what is done now."""
    for number in range(10):
        night(6 + number // 3, "L02", "L02.boot", 50.0, sizes={"L02.disks": 9})
    done = typed("--samples", "10")
    assert done.exit_code == 0, done.output
    assert "L02.boot on pair: 20 samples left out, for the check's sizes were others" in done.output
    assert "at most 60 s" in done.output


def test_each_host_may_have_a_limit_of_its_own(nights, typed, tmp_path):
    done = typed("--each-host", "--samples", "10", "-o", str(tmp_path / "own.yaml"))
    assert done.exit_code == 0, done.output
    text = (tmp_path / "own.yaml").read_text()
    assert "left:" in text
    assert "right:" in text
    assert "pair:" not in text


def test_waits_get_a_second_at_least(night, typed):
    for number in range(20):
        night(number // 4, "I16", "I16.seen", 0.1, waited=True)
    assert "at most 1.1 s" in typed().output


def test_half_a_result_of_a_run_that_was_killed_is_named_and_left_out(nights, typed, tmp_path):
    broken = tmp_path / "out" / "run-00" / "results" / "half-result.json"
    broken.write_text('{"status": "pas')
    done = typed()
    assert done.exit_code == 0, done.output
    assert f"left out, for it cannot be read: {broken}" in done.output


def test_a_decided_limit_is_left_as_it_is(nights, typed, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("hosts: {pair: {limits: {L02.boot: {at_most: 99, unit: s, reason: we say so}}}}\n")
    done = typed("-o", str(own))
    assert "L02.boot on pair: left as it is, for somebody decided it" in done.output
    assert "at_most: 99" in own.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pool", "nosuch"), "the lab 'lab' has no pool 'nosuch'; its pools: pair"),
        (("--limit", "Q*"), "nothing in these runs was held against a limit that may be calibrated"),
    ],
)
def test_words_that_name_nothing_are_said_so(nights, typed, words, message):
    assert message in error(typed(*words))


def test_a_folder_without_runs_is_said_so(lab, tmp_path):
    (tmp_path / "none").mkdir()
    for folder, message in (("none", "no test results in it"), ("nosuch", "there is no such folder")):
        done = CliRunner().invoke(interop, ["calibrate", str(tmp_path / folder), "--lab", str(lab)])
        assert message in error(done)


def test_its_help_teaches_what_it_does(typed):
    shown = CliRunner().invoke(interop, ["calibrate", "--help"]).output
    for word in ("first choice", "interquartile", "\n  interop calibrate --pool esxi8 --write   ", "Exit status 1"):
        assert word in shown
