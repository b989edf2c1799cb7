"""What is written to a results folder, and what a test that could not write leaves behind."""

import json
from pathlib import Path

import allure_commons
import pytest
from allure_commons import model2
from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import StatusDetails

from harness.report.identity import Identity
from harness.report.redact import Redactor
from harness.report.results import ResultsWriter, Running, settle, write_crashed, write_crashed_worker

RESET = Identity("L11", "Host is reset", "lifecycle", "kvm", host="kvm-1", parameters=(("kind", "hard"),), thread="gw1")


def written(folder, kind="result"):
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"*-{kind}.json"))]


@pytest.fixture
def writer(tmp_path):
    """A writer that knows one secret."""
    return ResultsWriter(tmp_path / "results", Redactor(["hunter2-secret"]))


def test_a_secret_reaches_no_result(writer, tmp_path):
    writer.report_result(
        model2.TestResult(uuid="1", statusDetails=StatusDetails(message="login with hunter2-secret failed"))
    )
    assert written(tmp_path / "results")[0]["statusDetails"]["message"] == "login with ******** failed"


def test_attached_text_is_masked_escaped_and_bounded(writer, tmp_path):
    writer.report_attached_data(b"\x00 hunter2-secret\n" + b"x\n" * 2_000_000, "1-attachment.txt")
    body = (tmp_path / "results" / "1-attachment.txt").read_text()
    assert body.startswith("\\x00 ********\n")
    assert len(body) < (1 << 20) + 200


def test_a_picture_is_kept_as_it_is(writer, tmp_path):
    writer.report_attached_data(b"\x89PNG\x00\xff", "1-attachment.png")
    assert (tmp_path / "results" / "1-attachment.png").read_bytes() == b"\x89PNG\x00\xff"


def test_an_attached_file_is_treated_like_attached_bytes(writer, tmp_path):
    (tmp_path / "log").write_bytes(b"token hunter2-secret \x07")
    writer.report_attached_file(tmp_path / "log", "1-attachment.txt")
    assert (tmp_path / "results" / "1-attachment.txt").read_text() == "token ******** \\x07"


def test_finalizers_without_an_end_and_fixtures_without_a_test_are_left_out(writer, tmp_path):
    writer.report_container(model2.TestResultContainer(uuid="1"))
    writer.report_container(
        model2.TestResultContainer(
            uuid="2",
            children=["t"],
            afters=[model2.TestAfterResult(name="<lambda>"), model2.TestAfterResult(name="x", status="passed")],
        )
    )
    (container,) = written(tmp_path / "results", "container")
    assert [after["name"] for after in container["afters"]] == ["x"]


def test_it_takes_the_place_of_allures_own_writer_and_gives_it_back(tmp_path):
    manager = allure_commons.plugin_manager
    theirs = AllureFileLogger(str(tmp_path / "theirs"))
    manager.register(theirs)
    restore = ResultsWriter(tmp_path / "ours", Redactor(["hunter2-secret"])).install()
    try:
        manager.hook.report_result(result=model2.TestResult(uuid="1", name="hunter2-secret"))
    finally:
        restore()
    assert manager.is_registered(theirs)
    manager.unregister(theirs)
    for folder in ("ours", "theirs"):
        assert [result["name"] for result in written(tmp_path / folder)] == ["********"]


def test_a_crashed_workers_test_has_a_result_with_its_own_identity(tmp_path):
    Running(tmp_path, "gw1").begin(RESET)
    assert write_crashed_worker(tmp_path, "gw1", "worker gw1 died") == RESET
    (result,) = written(tmp_path)
    assert (result["testCaseId"], result["status"]) == (RESET.test_case_id, "broken")
    assert result["statusDetails"]["message"] == "worker gw1 died"
    assert {"name": "pool", "value": "kvm"} in result["parameters"]


def test_a_worker_that_died_between_tests_leaves_nothing(tmp_path):
    running = Running(tmp_path, "gw1")
    running.begin(RESET)
    running.end()
    assert write_crashed_worker(tmp_path, "gw1", "worker gw1 died") is None
    assert written(tmp_path) == []


def test_tests_that_still_run_are_not_settled(tmp_path):
    Running(tmp_path, "main").begin(RESET)
    assert settle(tmp_path) == []


def test_tests_of_a_killed_run_are_settled_once(tmp_path):
    Running(tmp_path, "main").begin(RESET)
    note = tmp_path / ".running" / "main.json"
    nobody = int(Path("/proc/sys/kernel/pid_max").read_text())
    note.write_text(json.dumps(json.loads(note.read_text()) | {"pid": nobody}))
    assert settle(tmp_path) == [RESET]
    assert settle(tmp_path) == []
    assert written(tmp_path)[0]["statusDetails"]["message"] == "the run ended before this test did"


def test_evidence_of_a_crash_is_attached_and_masked(tmp_path):
    write_crashed(
        tmp_path, RESET, "died", redactor=Redactor(["hunter2-secret"]), evidence=(("stderr", b"hunter2-secret"),)
    )
    (result,) = written(tmp_path)
    (attached,) = result["attachments"]
    assert (tmp_path / attached["source"]).read_text() == "********"
