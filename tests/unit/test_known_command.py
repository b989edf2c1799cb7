"""``interop known``: a file of known issues looked at without a run."""

import datetime as dt
import json

import pytest
from click.testing import CliRunner

from harness.cli import interop, main
from harness.lab.load import load_lab


def call(*words):
    done = CliRunner().invoke(interop, ["known", *map(str, words)])
    return done.exit_code, done.output


@pytest.fixture
def file(tmp_path):
    """Writes a file with an entry for each span from today to the day it expires."""

    def file(*days):
        path = tmp_path / "known.yaml"
        lines = [
            f"  - {{check: I{number:02}, host: {{pool: 'ws*', build: '<9'}}, tracker: https://bugs.test/{number}, "
            f"reason: it is so, expires: {dt.datetime.now().astimezone().date() + dt.timedelta(days=day)}}}\n"
            for number, day in enumerate(days)
        ]
        path.write_text("known:\n" + "".join(lines))
        return path

    return file


def test_what_expires_within_30_days_is_told(file):
    path = file(33, 28, 400)
    status, output = call("check", path)
    assert status == 0
    assert output.count("expires soon") == 1
    assert f"I01 https://bugs.test/1 ({path}:3)" in output
    assert "2 hold, 1 expire within 30 days, 0 have" in output


def test_an_expired_entry_is_an_error(file):
    """On its very day it has expired."""
    status, output = call("check", file(0, 31))
    assert status == 1
    assert output.startswith("expired: ")


def test_a_mistake_is_an_error_with_its_place(tmp_path, capsys):
    path = tmp_path / "known.yaml"
    path.write_text("known:\n  - check: I01\n")
    with pytest.raises(SystemExit, match="1"):
        main(["known", "check", str(path)])
    assert f"{path}:2:5 known.0.tracker: this key is required" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        main(["known", "check", str(tmp_path / "nowhere.yaml")])
    assert "there is no such file" in capsys.readouterr().err


def test_the_list_begins_with_what_expires_first(file):
    status, output = call("list", file(400, 10))
    assert status == 0
    assert output.index("I01") < output.index("I00")
    assert "pool ws*, build <9" in output


def test_the_list_as_json_has_every_key(file):
    found = json.loads(call("list", "--json", file(400, -1))[1])
    assert [one["expired"] for one in found] == [True, False]
    assert found[1]["host"] == {"pool": "ws*", "build": "<9"}


def test_a_labs_own_file_is_found_by_the_lab(file, tmp_path):
    path = file(400)
    lab = tmp_path / "lab.yaml"
    lab.write_text(load_lab("local").text + f"\nknown_issues: {path.name}\n")
    status, output = call("check", "--lab", lab)
    assert (status, f"{path}: 1 hold" in output) == (0, True)


def test_what_ships_knows_nothing():
    assert "0 hold, 0 expire within 30 days, 0 have" in call("check")[1]


def test_the_schema_is_printed():
    assert json.loads(call("schema")[1])["title"] == "interop known issues"
