"""`interop report` writes the table and the figures even where Allure is missing, and remembers what runs came to."""

import json

import pytest
from click.testing import CliRunner

from harness.cli.report import command
from harness.core import LabError, UsageError
from harness.report import beside, history
from harness.report.page import harden
from tests.unit.report_runs import result, run


@pytest.fixture
def results(tmp_path):
    """A run on two pools that measured a boot on one."""
    folder = run(tmp_path / "out")
    result(folder, "L02", "kvm", measured=[{"name": "boot", "value": 31.0}, {"name": "boot_kernel", "value": 9.0}])
    result(folder, "L02", "esxi8", status="failed", message="AssertionError: dead")
    return folder


@pytest.fixture
def without_node(monkeypatch, tmp_path):
    """A place without Node.js."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_both_pages_lie_beside_each_other_and_link_to_each_other(results, tmp_path):
    pages = beside.write([results], tmp_path / "report")
    table, figures = pages.table.read_text(), pages.figures.read_text()
    assert (pages.tests, pages.columns) == (1, 2)
    assert 'href="figures.html"' in table
    assert 'href="matrix.html"' in figures
    assert "index.html#" in table
    assert pages.links == [("matrix.html", "Side by side"), ("figures.html", "Figures")]


def test_allures_page_gets_links_to_those_beside_it():
    page = harden("<html><head></head><body class=x><div></div></body></html>", [("matrix.html", "Side by <side>")])
    assert "<body class=x><style>" in page
    assert '<a href="matrix.html">Side by &lt;side&gt;</a>' in page


def test_without_allure_the_table_is_written_without_links_into_nothing(results, without_node):
    outcome = CliRunner().invoke(command, [str(results.parent)])
    assert isinstance(outcome.exception, LabError), outcome.output
    page = results.parent / "report" / "matrix.html"
    assert f"side by side: {page.resolve()} (1 tests on 2 hypervisors)" in outcome.output
    assert "index.html" not in page.read_text()


def test_each_run_adds_a_line_beside_the_runs_and_draws_it(results, without_node, tmp_path):
    newer = run(tmp_path / "out", "r2")
    result(newer, "L02", "kvm", start=1_767_312_000)
    for folder in (results, newer):
        CliRunner().invoke(command, [str(folder.parent)])
    lines = (tmp_path / "out" / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines] == ["r1", "r2"]
    assert "last 2 runs: 2 passed" in (newer.parent / "report" / "matrix.html").read_text()


def test_a_lost_record_is_made_anew_from_the_runs_themselves(results, tmp_path):
    record, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    newer = run(tmp_path / "out", "r2")
    result(newer, "L02", "kvm", start=1_767_312_000)
    beside.write([results], tmp_path / "report", record=record)
    beside.write([newer], tmp_path / "report", record=record)
    beside.write([newer, results], tmp_path / "report", record=again)
    assert record.read_bytes() == again.read_bytes()


def test_another_controllers_runs_are_added(results, without_node, tmp_path):
    theirs = run(tmp_path / "theirs", "r9")
    result(theirs, "L02", "kvm", start=1_767_139_200)
    beside.write([theirs], tmp_path / "x", record=tmp_path / "theirs.jsonl")
    CliRunner().invoke(command, [str(results.parent), "--merge", str(tmp_path / "theirs.jsonl")])
    known = history.read(tmp_path / "out" / "runs.jsonl").nights
    assert [night.run for night in known] == ["r9", "r1"]


def test_a_record_that_is_not_there_is_bad_input(results, tmp_path):
    with pytest.raises(UsageError, match="no such record"):
        beside.write([results], tmp_path / "report", merge=[tmp_path / "none.jsonl"])


def test_what_cannot_be_read_is_named(results, without_node, tmp_path):
    (tmp_path / "out" / "runs.jsonl").write_text("\n{half\n")
    (results / "x-result.json").write_text("{")
    outcome = CliRunner().invoke(command, [str(results.parent)])
    assert "runs.jsonl:2: no JSON" in outcome.output
    assert "x-result.json" in outcome.output


def test_an_unknown_reference_is_bad_input(results, without_node):
    outcome = CliRunner().invoke(command, [str(results.parent), "--reference", "ws2025"])
    assert isinstance(outcome.exception, UsageError)


def test_no_history_leaves_no_record(results, without_node, tmp_path):
    CliRunner().invoke(command, [str(results.parent), "--no-history"])
    assert not (tmp_path / "out" / "runs.jsonl").exists()


def test_results_that_other_tools_wrote_have_no_table(tmp_path):
    (tmp_path / "1-result.json").write_text('{"name": "x", "status": "passed"}')
    assert beside.write([tmp_path], tmp_path / "report") is None
