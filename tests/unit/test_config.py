"""Strict configuration: sizes, durations, and where a mistake is."""

from datetime import timedelta

import pytest
from pydantic import Field, TypeAdapter

from harness.core import GiB, MiB, Size, UsageError
from harness.core.config import StrictModel, load, load_again, nearest, parse_yaml, position, validate
from harness.core.fields import Bytes, Duration, duration, show_duration


class Disk(StrictModel):
    size: Bytes
    """How large."""


class Thing(StrictModel):
    name: str
    flag: bool = False
    life: Duration = timedelta(hours=1)
    disks: tuple[Disk, ...] = ()
    parts: dict[str, Disk] = Field(default_factory=dict)


def read(text: str) -> Thing:
    return validate(parse_yaml(text, "f"), Thing, "f")


def test_units_are_read():
    thing = read("name: a\nlife: 1h30m\ndisks: [{size: 2 GiB}, {size: 512}]\nparts: {x: {size: 1M}}\n")
    assert thing.life == timedelta(minutes=90)
    assert [disk.size for disk in thing.disks] == [2 * GiB, 512]
    assert thing.parts["x"].size == MiB


def test_yaml_1_2_words_stay_words():
    assert read("name: no\n").name == "no"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: 0777\n", "f:1:7 name: must be text (got 777)"),
        ("name: a\nflag: on\n", "f:2:7 flag: must be true or false (got 'on')"),
        ("name: a\nflag: 'true'\n", "f:2:7 flag: must be true or false (got 'true')"),
        ("nane: a\n", "f:1:1 name: this key is required\nf:1:1 nane: unknown key; did you mean 'name'?"),
        ("name: a\ndisks:\n  - size: 1\n    sice: 2\n", "f:4:5 disks.0.sice: unknown key; did you mean 'size'?"),
        ("name: a\ndisks:\n  - size: -1\n", "f:3:11 disks.0.size: a size is not negative"),
        ("name: a\ndisks: {size: 1}\n", "f:2:1 disks: must be a list (got {'size': 1})"),
        ("name: a\nparts:\n  x: 3\n", "f:3:6 parts.x: must be a mapping (key: value) (got 3)"),
        ("name: a\nparts:\n  1: {sice: 3}\n", "f:3:3 parts.1.size: this key is required"),
        ("name: a\nlife: 90\n", "f:2:7 life: a duration has a unit"),
        ("name:\n", "f:1:1 name: has no value"),
        ("name: !secret x\n", "f:1:1 (top level): the tag !secret means nothing here"),
    ],
)
def test_a_mistake_has_its_place(text, message):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert caught.value.message.startswith(message)


def test_a_long_value_is_shortened():
    with pytest.raises(UsageError) as caught:
        read(f"name: [{'x' * 500}]\n")
    assert len(caught.value.message) < 120


def test_keys_from_a_merge_have_a_place_as_well():
    with pytest.raises(UsageError, match=r"f:3:3 parts\.y\.sice: unknown key"):
        read("name: a\nparts:\n  y: {<<: {sice: 1}, size: 1}\n")


@pytest.mark.parametrize("text", ["name: a\nname: b\n", "parts:\n  x: {size: 1}\n  x: {size: 1}\n"])
def test_a_duplicate_key_is_refused(text):
    with pytest.raises(UsageError, match="stands here twice"):
        read(text)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.yaml: cannot be read: No such file"):
        load(tmp_path / "nothing.yaml", Thing)
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load(tmp_path, Thing)


def test_a_file_that_many_ask_for_is_parsed_once_until_it_says_something_else(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("name: one")
    first = load_again(path, Thing)
    assert load_again(path, Thing) is first
    assert first == load(path, Thing)
    for name in ("two", "one"):
        path.write_text(f"name: {name}")
        assert load_again(path, Thing).name == name
    path.write_text("name: 1")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"some\.yaml:1:\d+ name"):
            load_again(path, Thing)
    path.write_text("size: 1 MiB")
    assert load_again(path, Disk) == Disk(size=MiB)


def test_a_file_too_large_for_a_configuration_is_refused_unread(tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        load(path, Thing)


def test_position_of_what_is_not_there_is_its_parent_s():
    tree = parse_yaml("a:\n  b: [1, 2]\n", "f")
    assert position(tree, ["a", "b", 1]) == (2, 10)
    assert position(tree, ["a", "c"]) == (1, 1)


def test_the_nearest_word_is_suggested_else_all_are_listed():
    assert nearest("uir", ["uri", "accel"]) == "; did you mean 'uri'?"
    assert nearest("zzz", ["uri", "accel"]) == "; known: accel, uri"
    assert nearest("zzz", []) == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1.5s", 1.5), ("24h", 86400), ("7d", 604800), ("PT24H", 86400), ("P1DT2H", 93600)],
)
def test_durations_are_read_and_shown(text, seconds):
    span = duration(text)
    assert span.total_seconds() == seconds
    assert duration(show_duration(span)) == span


@pytest.mark.parametrize("text", ["", "soon", "5", "h", "-1h", "P", "PT", "1h 3x", "99999999999999d"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"duration"):
        duration(text)


def test_units_are_written_as_they_are_read():
    assert TypeAdapter(Bytes).dump_json(Size(2 * GiB)) == b'"2 GiB"'
    assert Thing(name="a", life=timedelta(hours=26)).model_dump_json(include={"life"}) == '{"life":"1d2h"}'
