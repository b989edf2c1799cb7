"""Measurements read back: the oldest first, and a damaged file loses nothing but itself."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from jsonschema import Draft202012Validator, ValidationError

from harness.measure import Better, Measurement
from harness.measure.records import Circumstances, Recorded, keep, read
from harness.report import layout

ONE = Recorded(
    Measurement("offset", 0.012, "s", Better.LOWER, (0.011, 0.013)),
    check="C01", part="cold", title="the clock is right", test="suites/clock/test_offset.py::test_it[kvm]",
    params=(("vcpus", "2"),), pool="ws2019", host="hv1", backend="hyperv", run="1ngp62p04x",
    at=datetime(2026, 3, 1, 12, 0, 0, 250000, UTC),
    circumstances=Circumstances("hyperv", neighbours=("run a (process 1) is active",), load=0.5, processors=8,
                                foreign=0.02, foreign_worst=0.05, foreign_limit=None),
    history="3fa627854cff87bf8cbc7271ae727c75", attempt=2,
)  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    """Every field, to the millisecond."""
    keep(tmp_path, ONE)
    assert read(tmp_path) == [ONE]
    assert read(tmp_path).damaged == ()


def test_what_the_version_before_wrote_is_read(tmp_path):
    """It knew nothing of others' work on the host; a file of this version must tell."""
    path = keep(tmp_path, ONE)
    known = json.loads(path.read_text())
    around = {name: value for name, value in known["circumstances"].items() if not name.startswith("foreign")}
    path.write_text(json.dumps(known | {"format": 1, "circumstances": around}))
    old = replace(ONE.circumstances, foreign=None, foreign_worst=None, foreign_limit=None)
    assert read(tmp_path) == [replace(ONE, circumstances=old)]
    path.write_text(json.dumps(known | {"circumstances": around}))
    assert "circumstances.foreign: Field required" in read(tmp_path).damaged[0]


def test_what_others_did_beyond_the_limit_disturbs():
    limited = replace(ONE.circumstances, foreign_limit=0.1)
    assert not replace(limited, foreign_worst=0.1).disturbed
    assert replace(limited, foreign_worst=0.11).disturbed
    assert not replace(limited, foreign_worst=None).disturbed
    assert not replace(limited, foreign_worst=0.9, foreign_limit=None).disturbed


def test_a_run_without_measurements_has_none(tmp_path):
    assert read(tmp_path) == []


def test_they_come_in_the_order_they_were_taken(tmp_path):
    """By the instant, whatever zone it was written in."""
    zone = timezone(timedelta(hours=5))
    times = [ONE.at + timedelta(seconds=2), (ONE.at + timedelta(seconds=1)).astimezone(zone), ONE.at]
    for number, at in enumerate(times):
        keep(tmp_path, replace(ONE, at=at, run=f"run{number}"))
    assert [one.run for one in read(tmp_path)] == ["run2", "run1", "run0"]


def test_a_first_try_does_not_count_once_there_was_a_second(tmp_path):
    """The lab was at fault then; another run's first try is nobody's second."""
    for attempt, run in ((1, "a"), (2, "a"), (1, "b")):
        keep(tmp_path, replace(ONE, attempt=attempt, run=run))
    assert sorted((one.run, one.attempt) for one in read(tmp_path)) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[: len(data) // 2], "EOF while parsing"),
        (lambda data: b"", "EOF while parsing"),
        (lambda data: data.replace(b'"format": 2', b'"format": 3'), "format: Input should be 1 or 2"),
        (lambda data: data.replace(b'"value": 0.012', b'"value": "12"'), "value: Input should be a valid number"),
        (lambda data: data.replace(b'"value": 0.012', b'"value": NaN'), "nan is not a finite number"),
        (lambda data: data.replace(b"+00:00", b""), "at: no time zone"),
        (lambda data: data.replace(b'"name": "offset",', b""), "name: Field required"),
        (lambda data: b"\xff\x00" + data, "expected value"),
    ],
    ids=["cut", "empty", "newer", "a word", "not a number", "no zone", "no name", "bytes"],
)
def test_a_damaged_file_is_named_and_loses_nothing_else(tmp_path, spoil, said):
    keep(tmp_path, replace(ONE, run="before"))
    path = keep(tmp_path, ONE)
    keep(tmp_path, replace(ONE, run="after"))
    data = spoil(path.read_bytes())
    assert data != path.read_bytes()
    path.write_bytes(data)
    found = read(tmp_path)
    assert sorted(one.run for one in found) == ["after", "before"]
    (line,) = found.damaged
    assert str(path) in line
    assert said in line


def test_a_writer_that_died_in_the_middle_leaves_nothing_to_read(tmp_path):
    """Files get their name when they are whole."""
    path = keep(tmp_path, ONE)
    path.rename(path.with_name(path.name + ".1234abcd.tmp"))
    assert read(tmp_path) == []
    assert read(tmp_path).damaged == ()


def test_texts_are_masked_and_names_of_keys_are_not(tmp_path):
    path = keep(tmp_path, replace(ONE, title="the clock of hunter2"), mask=lambda text: text.replace("hunter2", "***"))
    assert json.loads(path.read_text())["title"] == "the clock of ***"


@pytest.mark.parametrize(
    "change",
    [{"better": "sideways"}, {"value": "12"}, {"extra": 1}, {"circumstances": {"accel": "kvm"}}, {"attempt": 0}],
    ids=["direction", "value", "unknown key", "circumstances", "attempt"],
)
def test_the_schema_refuses_what_reading_refuses(tmp_path, change):
    """Two descriptions of one form: a file that fits neither is damaged by both."""
    validator = Draft202012Validator(json.loads((layout.settings() / "measurement.schema.json").read_text()))
    path = keep(tmp_path, ONE)
    known = json.loads(path.read_text())
    validator.validate(known)
    path.write_text(json.dumps(known | change))
    with pytest.raises(ValidationError):
        validator.validate(known | change)
    assert len(read(tmp_path).damaged) == 1


def test_the_schema_names_what_is_written():
    """Every key, and that it must be there."""
    schema = json.loads((layout.settings() / "measurement.schema.json").read_text())
    around = schema["properties"]["circumstances"]
    assert set(schema["required"]) == set(schema["properties"]) == set(ONE.plain())
    assert set(around["required"]) == set(around["properties"]) == set(ONE.plain()["circumstances"])
