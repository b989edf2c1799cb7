"""Two runs against each other: results and measurements as runs write them, and the command that compares them."""

import json
from datetime import UTC, datetime

import pytest
from allure_commons import model2
from allure_commons.model2 import Attachment, Status, StatusDetails
from click.testing import CliRunner

from harness.cli import interop
from harness.measure import Better, Measurement
from harness.measure.records import Circumstances, Recorded, keep
from harness.report import compared, environment
from harness.report.comparing import Change, compare
from harness.report.identity import Fault, Identity, stamp
from harness.report.redact import Redactor
from harness.report.remarks import Remarks
from harness.report.results import ResultsWriter

PASSED, FAILED, BROKEN, SKIPPED = Status.PASSED, Status.FAILED, Status.BROKEN, Status.SKIPPED


class Run:
    """A run that is written result by result."""

    def __init__(self, folder):
        self.folder = folder
        self.writer = ResultsWriter(folder / "results", Redactor())

    def result(
        self, check, status=PASSED, message=None, *, pool="kvm", fault=None, attached=None, title=None, **remarks
    ):
        identity = Identity(check, title or f"{check} is so", "vcpu", pool, host=f"{pool}-1")
        result = model2.TestResult(uuid=f"{check}-{pool}", status=status, start=1_000, stop=2_000)
        result.statusDetails = StatusDetails(message=message) if message else None
        if attached is not None:
            source = f"{check}-attachment.json"
            (self.folder / "results" / source).write_text(json.dumps(attached.plain()))
            result.attachments = [Attachment(name=f"measurement {attached}", source=source, type="application/json")]
        stamp(result, identity, fault, frozenset(), Remarks(**remarks))
        self.writer.report_result(result)
        return self

    def measured(self, check, *values, samples=(), pool="kvm", better=Better.LOWER, accel="kvm", quiet=True):
        for value in values:
            figure = Measurement("boot", value, "s", better, tuple(samples))
            around = Circumstances(accel, quiet=quiet)
            at = datetime.now(UTC)
            recorded = Recorded(
                figure, check, "", "it boots", f"t::{value}", (), pool, f"{pool}-1", "kvm", "r", at, around
            )
            keep(self.folder / "results", recorded)
        return self

    def described(self, **facts):
        host = {"name": "kvm-1", "pool": "kvm", "backend": "kvm", "product": "QEMU", "version": "7.2", "accel": "kvm"}
        names = {"image", "digest", "build", "kernel", "release"}
        run = {"run": self.folder.name, "lab": "local", "harness": "1", "image": "debian12", "digest": "ab" * 32}
        run |= {name: value for name, value in facts.items() if name in names}
        host |= {name: value for name, value in facts.items() if name not in names}
        record = environment.RunRecord(**run, hosts=(environment.HostRecord(**host),))
        environment.write(self.folder / "results", record)
        return self


@pytest.fixture
def runs(tmp_path):
    """A run of before and one of after."""
    return Run(tmp_path / "before"), Run(tmp_path / "after")


def changes(runs, pool="kvm"):
    """What changed, by check."""
    found = compare(*(run.folder for run in runs))
    return {one.cell.check: one.change for one in found.changed if one.cell.pool == pool}


def told(runs, **options):
    return compared.text(compare(*(run.folder for run in runs)), **options)


KNOWN = {"known": True, "trackers": (("known issue, until 2999-12-31", "https://bugs.test/7"),)}
FAILS = {"status": FAILED, "message": "AssertionError: no", "fault": Fault.PRODUCT}
PANICS = {"status": BROKEN, "message": "GuestError: it panicked", "fault": Fault.GUEST}
UNREACHED = {"status": BROKEN, "message": "LabError: no route", "fault": Fault.LAB}
SKIPS = {"status": SKIPPED, "message": "Skipped: kvm-1 cannot: pause (PAUSE)"}
CASES = [
    ({}, {}, None, False),
    ({}, FAILS, Change.FAILING, True),
    ({}, PANICS, Change.FAILING, True),
    ({}, UNREACHED, Change.FAILING, True),
    (SKIPS, FAILS, Change.FAILING, True),
    (FAILS | KNOWN, FAILS, Change.FAILING, True),
    (FAILS, FAILS, None, False),
    (FAILS, PANICS, Change.FAILS_OTHERWISE, False),
    (FAILS, {}, Change.PASSING, False),
    (FAILS | KNOWN, {}, Change.PASSING, False),
    ({}, FAILS | KNOWN, Change.KNOWN, False),
    ({}, SKIPS, Change.SKIPPED, False),
    (SKIPS, {}, Change.RUNS, False),
    ({}, {"earlier": "lab"}, Change.FLAKY, False),
]


@pytest.mark.parametrize(("before", "after", "change", "worse"), CASES)
def test_what_became_of_a_check_has_a_name(runs, before, after, change, worse):
    runs[0].result("C01", **before)
    runs[1].result("C01", **after)
    assert changes(runs) == ({"C01": change} if change else {})
    assert compare(runs[0].folder, runs[1].folder).worse() is worse


def test_checks_come_and_go(runs):
    """A new one that fails is worse, one that is gone only where coverage counts."""
    runs[0].result("C01").result("C02")
    runs[1].result("C02").result("C03")
    assert changes(runs) == {"C01": Change.DISAPPEARED, "C03": Change.APPEARED}
    found = compare(*(run.folder for run in runs))
    assert (found.worse(), found.worse(strict=True)) == (False, True)
    runs[1].result("C04", **FAILS)
    assert changes(runs)["C04"] is Change.FAILING
    assert "newly failing\n    C04 C04 is so (new, failed): AssertionError: no" in told(runs)


def test_a_renamed_check_is_no_change(runs):
    runs[0].result("C01", title="it was called so")
    runs[1].result("C01", title="and is called so now")
    assert changes(runs) == {}


def test_pools_are_kept_apart(runs):
    runs[0].result("C01").result("C01", pool="esxi8")
    runs[1].result("C01").result("C01", pool="esxi8", **FAILS)
    assert changes(runs) == {}
    assert changes(runs, "esxi8") == {"C01": Change.FAILING}
    assert told(runs).index("esxi8\n  newly failing\n    C01 C01 is so (passed, now failed): AssertionError: no") > 0


def test_a_skip_tells_its_reason_and_a_known_failure_its_tracker(runs):
    runs[0].result("C01").result("C02")
    runs[1].result("C01", **SKIPS).result("C02", **FAILS, **KNOWN)
    assert "skipped now\n    C01 C01 is so (passed, now skipped): kvm-1 cannot: pause (PAUSE)" in told(runs)
    assert "C02 C02 is so (passed, now known) https://bugs.test/7: AssertionError: no" in told(runs)


def test_a_measurement_tells_its_change_and_that_it_is_no_verdict(runs):
    """However large it is, one run each proves nothing."""
    runs[0].result("L02").measured("L02", 20.0)
    runs[1].result("L02").measured("L02", 30.0)
    found = compare(*(run.folder for run in runs))
    assert (found.measured[0].change, found.measured[0].gain, found.worse()) == (0.5, -0.5, False)
    assert "L02 L02 is so: boot 20 -> 30 s (+50.0%, lower is better)" in told(runs)
    assert compared.NO_VERDICT in told(runs)


def test_samples_are_compared_by_their_medians(runs):
    runs[0].result("L02").measured("L02", 20.0, samples=(18, 20, 40))
    runs[1].result("L02").measured("L02", 20.0, samples=(20, 22, 50, 24))
    assert "medians of 3 and 4 samples 20 -> 23 (+15.0%)" in told(runs)


def test_a_measurement_that_was_taken_several_times_counts_by_its_median(runs):
    runs[0].result("L02").measured("L02", 20.0, 21.0, 90.0)
    runs[1].result("L02").measured("L02", 42.0)
    (measured,) = compare(*(run.folder for run in runs)).measured
    assert (measured.before.value, measured.before.count, measured.change) == (21.0, 3, 1.0)


def test_other_circumstances_are_told(runs):
    runs[0].result("L02").measured("L02", 20.0)
    runs[1].result("L02").measured("L02", 30.0, accel="tcg", quiet=False)
    assert "taken under: kvm, and now: tcg, not in quiet" in told(runs)


def test_runs_that_kept_measurements_with_their_results_alone_are_compared_too(runs):
    runs[0].result("L02", attached=Measurement("boot", 0.0, "s", Better.LOWER))
    runs[1].result("L02", attached=Measurement("boot", 3.0, "s", Better.LOWER))
    (measured,) = compare(*(run.folder for run in runs)).measured
    assert (measured.change, measured.gain) == (None, float("-inf"))
    assert "boot 0 -> 3 s (from 0, lower is better)" in told(runs)


def test_the_greatest_loss_stands_first_whichever_way_is_better(runs):
    for run, slow, fast in ((runs[0], 10.0, 10.0), (runs[1], 11.0, 5.0)):
        run.result("L02").result("N02").measured("L02", slow).measured("N02", fast, better=Better.HIGHER)
    assert [one.label.split()[0] for one in compare(*(run.folder for run in runs)).measured] == ["N02", "L02"]


def test_what_ran_on_what_is_compared(runs):
    details = {"libvirt": "9.0.0", "peer switch": "127.140.149.44:25320"}
    services = {"open-vm-tools": "2:12.2.0-1"}
    runs[0].result("C01").described(kernel="6.1.0-56-amd64", details=details, services=services)
    details, services = details | {"libvirt": "9.1.0", "peer switch": "127.1.1.1:1"}, {"open-vm-tools": "2:12.3.0-1"}
    runs[1].result("C01").described(release="tools-12.3", details=details, services=services, build="b2")
    found = {(one.pool, one.what): (one.before, one.after) for one in compare(*(r.folder for r in runs)).differences}
    assert found == {
        ("", "image's kernel"): ("6.1.0-56-amd64", ""),
        ("", "build"): ("", "b2"),
        ("", "release"): ("", "tools-12.3"),
        ("kvm", "host's libvirt of kvm-1"): ("9.0.0", "9.1.0"),
        ("kvm", "guest's open-vm-tools of kvm-1"): ("2:12.2.0-1", "2:12.3.0-1"),
    }
    assert "run\n  environment\n    build: none -> b2" in told(runs)


def test_what_a_guest_said_cannot_write_to_the_terminal_nor_mark_up_a_page(runs):
    evil = "AssertionError: \x1b[31m<img src=x> [click](http://x) | `"
    runs[0].result("C01")
    runs[1].result("C01", FAILED, evil, fault=Fault.PRODUCT)
    assert "\x1b" not in told(runs)
    page = compared.markdown(compare(*(run.folder for run in runs)))
    assert "&lt;img src=x&gt; \\[click\\](http://x) \\| \\`" in page
    assert "\x1b" not in page


def test_a_long_list_is_cut_but_never_that_of_failures(runs):
    for number in range(30):
        runs[0].result(f"A{number:02}").result(f"B{number:02}")
        runs[1].result(f"B{number:02}", **FAILS)
    assert "and 10 more; --format json has them all" in told(runs)
    assert told(runs).count("now failed") == 30


def test_results_that_cannot_be_read_are_told(runs):
    runs[0].result("C01")
    runs[1].result("C01")
    (runs[1].folder / "results" / "x-result.json").write_text("{")
    assert "1 results of the run to which this is cannot be read" in told(runs)


def call(*words):
    done = CliRunner().invoke(interop, ["compare", *map(str, words)])
    return done.exit_code, done.output


def test_the_exit_status_says_whether_something_got_worse(runs, tmp_path):
    """By folder, by id below the report dir, and by `latest`."""
    runs[0].result("C01").result("C02")
    runs[1].result("C01", **FAILS)
    (tmp_path / "latest").symlink_to("after")
    below = ("--report-dir", tmp_path)
    status, output = call(runs[0].folder, runs[1].folder / "results")
    assert (status, "1 worse" in output) == (1, True)
    assert call("before", "latest", *below)[0] == 1
    assert call("latest", "before", *below)[0] == 0
    status, output = call("before", "nowhere", *below)
    assert (status, "nowhere: no such run" in output) == (2, True)
    assert call("before")[0] == 2


def test_coverage_counts_where_it_is_asked_for(runs):
    runs[0].result("C01")
    runs[1].result("C01", **SKIPS)
    assert call(runs[0].folder, runs[1].folder)[0] == 0
    status, output = call("--strict", runs[0].folder, runs[1].folder)
    assert (status, "1 worse" in output) == (1, True)


def test_as_json_everything_can_be_read_back(runs):
    runs[0].result("C01").result("L02").measured("L02", 20.0)
    runs[1].result("C01", **FAILS).result("L02").measured("L02", 30.0)
    status, output = call("--format", "json", runs[0].folder, runs[1].folder)
    found = json.loads(output)
    assert (status, found["worse"], found["format"]) == (1, True, 1)
    (changed,) = found["changed"]
    assert (changed["check"], changed["change"], changed["after"]["status"]) == ("C01", "newly failing", "failed")
    assert found["measured"][0]["change"] == 0.5


def test_as_markdown_it_has_a_heading_for_each_pool(runs):
    runs[0].result("C01")
    runs[1].result("C01", **FAILS)
    status, output = call("--format", "markdown", runs[0].folder, runs[1].folder)
    assert status == 1
    assert "## kvm\n\n### Newly failing\n\n- C01 C01 is so (passed, now failed): AssertionError: no\n" in output
