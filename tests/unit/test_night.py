"""Long tests go on where they were stopped, and begin anew when the code has changed."""

import sys

import pytest

from tests.end_to_end import night as nights
from tests.end_to_end.night import Night, content, main


@pytest.fixture
def root(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "one.py").write_text("one")
    (tmp_path / "file").write_text("file")
    return tmp_path


def test_what_was_noted_is_known_to_the_next_call(root):
    Night(root / "night.jsonl").note("planted C01", times=2)
    again = Night(root / "night.jsonl")
    assert [line["times"] for line in again.all_of("planted C01")] == [2]
    assert again.all_of("planted C02") == []


def test_a_line_that_was_torn_is_as_if_never_written(root):
    first = Night(root / "night.jsonl")
    first.note("planted C01")
    with first.file.open("a") as journal:
        journal.write('{"name": "planted C0')
    second = Night(first.file)
    second.note("planted C03")
    third = Night(first.file)
    assert [bool(third.all_of(f"planted C0{number}")) for number in (1, 2, 3)] == [True, False, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "part" / "one.py").write_text("two"),
        lambda root: (root / "part" / "more.py").write_text(""),
        lambda root: (root / "part" / "one.py").rename(root / "part" / "other.py"),
        lambda root: (root / "file").unlink(),
    ],
    ids=["another byte", "another file", "another name", "one less"],
)
def test_other_content_has_another_name(root, change):
    before = content(root, ["part", "file"])
    assert content(root, ["file", "part"]) == before
    change(root)
    assert content(root, ["part", "file"]) != before


def test_what_is_made_by_running_is_no_content(root):
    before = content(root, ["part"])
    (root / "part" / "__pycache__").mkdir()
    (root / "part" / "__pycache__" / "one.pyc").write_bytes(b"x")
    assert content(root, ["part"]) == before


def test_a_command_runs_until_it_succeeded_once(root, monkeypatch, capsys):
    monkeypatch.setattr(nights, "CHECKOUT", root)
    monkeypatch.setattr(nights, "JOURNALS", root / "build")
    run = [
        "part",
        sys.executable,
        "-c",
        "import pathlib as p, sys; n = p.Path('n'); n.open('a').write('x'); sys.exit(1)",
    ]
    monkeypatch.chdir(root)
    assert (main(run), main(run)) == (1, 1)
    run[-1] = run[-1].replace("exit(1)", "exit(0)")
    assert (main(run), main(run)) == (0, 0)
    assert (root / "n").read_text() == "xxx"
    assert "done before" in capsys.readouterr().out
