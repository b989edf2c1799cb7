"""Rendering is a step of its own: what it lacks is said once, and results stay."""

import json
import re

import pytest
from click.testing import CliRunner

from harness.cli.report import command
from harness.core import LabError, UsageError
from harness.report import layout, render


@pytest.fixture
def results(tmp_path):
    """A run with one result."""
    folder = layout.RunFolder(tmp_path / "run").make().results
    (folder / "1-result.json").write_text('{"name": "x", "status": "passed"}')
    return folder


def test_without_node_one_message_says_what_to_do(results, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"Node\.js is not on PATH") as caught:
        render.render([results], tmp_path / "report")
    assert "make setup" in caught.value.hint
    assert list(results.glob("*-result.json"))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A place with Node.js and whatever a test puts below node_modules."""
    (tmp_path / "node").touch(mode=0o755)
    (tmp_path / "reports").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(layout, "settings", lambda: tmp_path / "reports")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "node_modules" / "allure"


def test_without_allure_one_message_says_what_to_do(elsewhere):
    with pytest.raises(LabError, match="not installed below node_modules"):
        render.allure()


def test_another_version_of_allure_is_refused(elsewhere):
    elsewhere.mkdir(parents=True)
    (elsewhere / "package.json").write_text('{"version": "2.0.0"}')
    with pytest.raises(LabError, match=re.escape(f"is Allure 2.0.0, needed is {render.ALLURE}")):
        render.allure()


def test_a_folder_without_results_is_bad_input(tmp_path):
    with pytest.raises(UsageError, match="no test results"):
        layout.find(tmp_path)
    with pytest.raises(UsageError, match="no such run"):
        layout.find(tmp_path / "nowhere")


def test_a_run_and_its_results_mean_the_same(results):
    assert layout.find(results) == layout.find(results.parent) == results.resolve()


def test_latest_points_to_the_newest_run(tmp_path):
    for name in ("one", "two"):
        layout.RunFolder(tmp_path / name).make()
    assert (tmp_path / "latest").resolve() == (tmp_path / "two").resolve()


def test_somebodys_own_folder_called_latest_is_not_replaced(tmp_path):
    (tmp_path / "latest").mkdir()
    layout.RunFolder(tmp_path / "one").make()
    assert not (tmp_path / "latest").is_symlink()


def test_the_command_names_the_missing_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(command, [])
    assert isinstance(outcome.exception, UsageError)
    assert "reports/out/latest" in str(outcome.exception)


def test_package_and_program_pin_the_same_allure():
    root = layout.settings().parent
    assert json.loads((root / "package.json").read_text())["dependencies"] == {"allure": render.ALLURE}
    lock = json.loads((root / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/allure"]["version"] == render.ALLURE


def test_the_lock_pins_by_hash_and_names_no_host():
    lock = (layout.settings().parent / "package-lock.json").read_text()
    assert "://" not in lock, "drop `resolved` and `funding`: where packages come from is each site's own business"
    assert all(package.get("integrity") for name, package in json.loads(lock)["packages"].items() if name)
