"""Results read back as cells: written here by the writers that every run uses."""

import pytest
from allure_commons import model2
from allure_commons.model2 import Attachment, Status, StatusDetails

from harness.core import UsageError
from harness.report import cells, environment
from harness.report.identity import Fault, Identity, stamp
from harness.report.redact import Redactor
from harness.report.remarks import Remarks
from harness.report.results import ResultsWriter, write_crashed
from harness.report.summary import Verdict

ONLINE = Identity(
    "C01",
    "every vcpu comes online",
    "vcpu",
    "kvm",
    host="kvm-1",
    backend="kvm",
    twin=True,
    parameters=(("vcpus", "4"),),
)
REBOOT = Identity("I11", "services come back", "integration", "esxi8", part="reboot")


@pytest.fixture
def write(tmp_path):
    """Writes a result as a run does."""
    writer = ResultsWriter(tmp_path / "results", Redactor())

    def write(identity, status=Status.PASSED, message=None, *, fault=None, start=1_000, **remarks):
        details = StatusDetails(message=message) if message else None
        result = model2.TestResult(uuid=f"{identity.check}-{start}", status=status, statusDetails=details)
        result.start, result.stop = start, start + 2_500
        result.attachments = [Attachment(name="journal", source="j-attachment.txt", type="text/plain")]
        stamp(result, identity, fault, frozenset(), Remarks(**remarks))
        writer.report_result(result)

    return write


def read(tmp_path):
    return cells.read(tmp_path).cells


def test_a_cell_is_a_check_with_its_parameters_on_a_pool(write, tmp_path):
    write(ONLINE)
    (cell,) = read(tmp_path)
    assert (cell.check, cell.title, cell.suite) == ("C01", "every vcpu comes online", "vcpu")
    assert (cell.pool, cell.host, cell.backend, cell.twin) == ("kvm", "kvm-1", "kvm", True)
    assert (cell.params, cell.status, cell.reason) == ((("vcpus", "4"),), Verdict.PASSED, "")
    assert (cell.start, cell.duration) == (1.0, 2.5)
    assert (cell.test_case, cell.history) == (ONLINE.test_case_id, ONLINE.history_id)
    assert cell.label == "C01 every vcpu comes online (vcpus=4)"
    assert cell.attachments == (("journal", tmp_path.resolve() / "results" / "j-attachment.txt"),)


def test_a_part_tells_tests_of_one_number_apart(write, tmp_path):
    write(REBOOT)
    assert read(tmp_path)[0].key == ("I11", "reboot", ())


@pytest.mark.parametrize(
    ("status", "fault", "verdict"),
    [
        (Status.FAILED, Fault.PRODUCT, Verdict.FAILED),
        (Status.BROKEN, Fault.GUEST, Verdict.GUEST),
        (Status.BROKEN, Fault.LAB, Verdict.LAB),
        (Status.BROKEN, Fault.MOVED, Verdict.LAB),
        (Status.BROKEN, Fault.NOT_QUIET, Verdict.LAB),
        (Status.BROKEN, Fault.HARNESS, Verdict.ERROR),
        (Status.SKIPPED, None, Verdict.SKIPPED),
    ],
)
def test_a_failure_is_whose_fault_it_was(write, tmp_path, status, fault, verdict):
    write(ONLINE, status, "AssertionError: 3 CPUs\nassert 3 == 4", fault=fault)
    (cell,) = read(tmp_path)
    assert (cell.status, cell.reason) == (verdict, "AssertionError: 3 CPUs")


def test_a_skip_has_its_bare_reason(write, tmp_path):
    write(ONLINE, Status.SKIPPED, "Skipped: kvm-1 cannot: pause (PAUSE)")
    assert read(tmp_path)[0].reason == "kvm-1 cannot: pause (PAUSE)"


def test_a_known_failure_has_its_tracker(write, tmp_path):
    link = ("known issue, until 2027-01-01", "https://bugs.test/7")
    write(ONLINE, Status.FAILED, "3 CPUs", fault=Fault.PRODUCT, known=True, trackers=(link,))
    (cell,) = read(tmp_path)
    assert (cell.status, cell.tracker, cell.reason) == (Verdict.KNOWN, "https://bugs.test/7", "3 CPUs")


def test_what_an_issue_has_to_tell_is_kept(write, tmp_path):
    write(ONLINE, trackers=(("known issue", "https://bugs.test/7"),), news="passes again")
    (cell,) = read(tmp_path)
    assert (cell.status, cell.tracker, cell.news) == (Verdict.PASSED, "https://bugs.test/7", "passes again")


def test_the_last_attempt_counts_and_knows_those_before(write, tmp_path):
    write(ONLINE, Status.BROKEN, "no route", fault=Fault.LAB, start=1_000)
    write(ONLINE, earlier="guest", start=9_000)
    (cell,) = read(tmp_path)
    assert (cell.status, cell.earlier) == (Verdict.FLAKY, (Verdict.LAB,))


def test_an_attempt_that_left_no_result_is_known_by_what_the_last_one_says(write, tmp_path):
    write(ONLINE, earlier="lab")
    (cell,) = read(tmp_path)
    assert (cell.status, cell.earlier) == (Verdict.FLAKY, (Verdict.LAB,))


def test_a_pass_after_a_pass_is_not_flaky(write, tmp_path):
    write(ONLINE, start=1_000)
    write(ONLINE, start=9_000)
    (cell,) = read(tmp_path)
    assert (cell.status, cell.earlier) == (Verdict.PASSED, (Verdict.PASSED,))


def test_a_test_whose_worker_died_is_a_cell(write, tmp_path):
    write(REBOOT)
    write_crashed(tmp_path / "results", ONLINE, "worker gw1 died")
    assert {cell.check: cell.status for cell in read(tmp_path)} == {"C01": Verdict.ERROR, "I11": Verdict.PASSED}


def test_results_of_no_pool_are_strangers(write, tmp_path):
    write(ONLINE)
    (tmp_path / "results" / "x-result.json").write_text('{"name": "theirs", "status": "passed", "labels": []}')
    assert len(read(tmp_path)) == 1


def test_half_a_file_is_told_and_spoils_nothing(write, tmp_path):
    write(ONLINE)
    half = tmp_path / "results" / "x-result.json"
    half.write_text('{"name": ')
    found = cells.read(tmp_path)
    assert (len(found.cells), found.broken) == (1, (half.resolve(),))


def test_the_runs_own_record_says_what_ran_where(write, tmp_path):
    write(ONLINE)
    host = environment.HostRecord("kvm-1", "kvm", "kvm", "QEMU/libvirt", "7.2", "tcg", kernel="6.1.0-56-amd64")
    record = environment.RunRecord("r7", "local", "1.0", "debian12", "ab" * 32, hosts=(host,), release="tools-13")
    environment.write(tmp_path / "results", record)
    found = cells.read(tmp_path / "results")
    assert (found.run, found.lab, found.image, found.digest) == ("r7", "local", "debian12", "ab" * 32)
    assert (found.release, found.hosts, found.start) == ("tools-13", (host,), 1.0)


def test_a_record_of_an_older_harness_still_names_the_image(write, tmp_path):
    write(ONLINE)
    (tmp_path / "results" / "environment.properties").write_text("Image = debian12\nImage\\ sha256 = abc\n")
    found = cells.read(tmp_path)
    assert (found.run, found.image, found.digest) == (tmp_path.name, "debian12", "abc")


def test_a_folder_without_results_is_no_run(tmp_path):
    with pytest.raises(UsageError, match="no test results"):
        cells.read(tmp_path)
