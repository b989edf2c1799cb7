"""Results of several versions: those of the version before are read, and never mixed with others on one page."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import interop
from harness.measure import records
from harness.plugin.scheduling.durations import Durations
from harness.report import cells, compared, history
from harness.report.comparing import compare
from harness.report.summary import Verdict
from tests.unit import report_runs

BEFORE = Path(__file__).parents[1] / "recorded" / "runs" / "before"


def test_a_run_of_the_version_before_is_read():
    """Recorded when results held neither version nor digest: tests, measurement, hosts, history and durations."""
    run = cells.read(BEFORE)
    told = {(cell.check, cell.params): (cell.status, cell.source) for cell in run.cells}
    assert told == {
        ("ACME-001", (("n", "1"),)): (Verdict.PASSED, ""),
        ("ACME-001", (("n", "2"),)): (Verdict.FAILED, ""),
        ("ACME-002", ()): (Verdict.PASSED, ""),
        ("ACME-003", ()): (Verdict.SKIPPED, ""),
    }
    assert (run.harness, run.broken, [host.product for host in run.hosts]) == ("0.1.0", (), ["Memory Host"])
    assert [one.measurement.value for one in records.read(run.results)] == [0.25]
    (night,) = history.read(BEFORE / "runs.jsonl").nights
    assert [(entry.check, entry.status.value) for entry in night.entries] == [
        ("ACME-001", "passed"), ("ACME-001", "failed"), ("ACME-002", "passed"), ("ACME-003", "skipped"),
    ]  # fmt: skip
    assert Durations(BEFORE / "durations.json").expected("ACME-002: it is quick", "first") < 1


def test_a_page_is_made_of_the_version_before(tmp_path):
    shutil.copytree(BEFORE, tmp_path / "run")
    CliRunner().invoke(interop, ["report", str(tmp_path / "run"), "--no-history"])
    assert "ACME-002" in (tmp_path / "run" / "report" / "matrix.html").read_text()


def labelled(folder, **labels):
    """A copy of the recorded run whose results say more of themselves."""
    shutil.copytree(BEFORE, folder)
    for path in (folder / "results").glob("*-result.json"):
        told = json.loads(path.read_text())
        check = next(label["value"] for label in told["labels"] if label["name"] == "check")
        own = {name: value[check] if isinstance(value, dict) else value for name, value in labels.items()}
        told["labels"] += [{"name": name, "value": value} for name, value in own.items()]
        path.write_text(json.dumps(told))
    return folder


SOURCES = {"ACME-001": "1:aa", "ACME-002": "1:bb", "ACME-003": "1:cc"}


def test_checks_that_changed_are_flagged(tmp_path):
    old = labelled(tmp_path / "old", source=SOURCES)
    new = labelled(tmp_path / "new", source=SOURCES | {"ACME-001": "1:zz"})
    (first,) = [path for path in (new / "results").glob("*-result.json") if "(n=1)" in path.read_text()]
    first.write_text(first.read_text().replace('"status": "passed"', '"status": "failed"'))
    found = compare(old, new)
    assert {(cell.check, dict(cell.params)["n"]) for cell in found.rewritten} == {("ACME-001", "1"), ("ACME-001", "2")}
    told = compared.text(found)
    assert "2 checks are not what they were: their source changed" in told
    assert "checks that changed\n    ACME-001 it holds (n=1)" in told
    data = compared.data(found)
    assert [one["check"] for one in data["rewritten"]] == ["ACME-001", "ACME-001"]
    assert [(one["change"], one["rewritten"]) for one in data["changed"]] == [("newly failing", True)]
    assert "passed, now failed); the check itself changed" in told


@pytest.mark.parametrize("source", ["", "2:aa"], ids=["none", "another kind"])
def test_where_digests_say_nothing_that_is_told(tmp_path, source):
    """A run of the version before, or one that made its digests otherwise."""
    old = labelled(tmp_path / "old", source=SOURCES)
    found = compare(old, labelled(tmp_path / "new", source=source))
    assert found.rewritten == ()
    assert "4 results do not say of which source" in compared.text(found)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"harness": "9.9.9"}, "9.9.9 in"),
        ({"harness": "0.1.0", "source": "2:aa"}, "digests of kind 2 in"),
    ],
    ids=["version", "digests"],
)
def test_results_of_two_versions_make_no_page(tmp_path, labels, said):
    """The message names both, and what to do."""
    one = labelled(tmp_path / "one", harness="0.1.0", source="1:aa")
    other = labelled(tmp_path / "other", **labels)
    done = CliRunner().invoke(interop, ["report", str(one), str(other), "-o", str(tmp_path / "page")])
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert "interop compare" in str(done.exception)
    assert not (tmp_path / "page").exists()


def test_results_of_one_version_make_one(tmp_path):
    runs = [labelled(tmp_path / name, harness="0.1.0", source="1:aa") for name in ("one", "other")]
    CliRunner().invoke(interop, ["report", *map(str, runs), "-o", str(tmp_path / "page"), "--no-history"])
    assert (tmp_path / "page" / "matrix.html").exists()


def test_a_run_says_which_harness_wrote_it(tmp_path):
    """Its own results before its record: what lies there may have been brought from elsewhere."""
    results = report_runs.run(tmp_path)
    report_runs.result(results, "C01", "kvm")
    assert cells.read(results).harness == "0.1.0"
