"""Known issues in whole runs of pytest, on hosts that need no hypervisor: what is told, and what fails the run."""

import json
import os

import pytest
from click.testing import CliRunner

from harness.cli import interop
from harness.report import cells
from tests.unit.memory_host import furnish

pytest_plugins = ["pytester"]
TESTS = """
    import pytest
    from harness.core import GuestError, LabError

    @pytest.mark.check("ACME-001")
    @pytest.mark.parametrize("n", [1, 2])
    def test_it_holds(host, n):
        assert n == 1, "two is not one"

    @pytest.mark.check("ACME-002")
    def test_it_boots(host):
        raise GuestError("it panicked")

    @pytest.mark.check("ACME-003")
    def test_it_is_fine(host):
        pass

    @pytest.mark.check("ACME-004")
    def test_the_lab_stands(host):
        raise LabError("no space")

    @pytest.mark.check("ACME-005")
    def test_it_is_written_well(host):
        {}["no such key"]

    attempts = []

    @pytest.mark.check("ACME-007")
    def test_the_lab_recovers(host):
        attempts.append(host)
        if attempts.count(host) == 1:
            raise LabError("no route yet")
        assert False, "and it fails"

    @pytest.fixture
    def cleanup(host):
        yield
        assert False, "left something behind"

    @pytest.mark.check("ACME-006")
    def test_two_things_fail(cleanup):
        assert False, "first"
"""


def entry(check, *, number, expires="2999-12-31", **keys):
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"{{check: ACME-00{check}, tracker: https://bugs.test/{number}, reason: it is so, expires: {expires}{more}}}"


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs an inner pytest with these known issues: its exit status, its output, and cells by check and pool."""
    place = pytester.path
    options = furnish(place, second=", build: '17763.5329'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("INTEROP_STATE", str(place / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(place / "cache"))
    pytester.makepyfile(TESTS)
    monkeypatch.chdir(place)

    def run(*arguments, known=()):
        (place / "known.yaml").write_text("known:\n" + "".join(f"  - {one}\n" for one in known) if known else "")
        done = pytester.runpytest_subprocess(*options, "--known-issues=known.yaml", *arguments, timeout=120)
        output = "\n".join([*done.outlines, *done.errlines])
        found = cells.read(place / "out" / "latest").cells if (place / "out").is_dir() else ()
        return (
            int(done.ret),
            output,
            {(cell.check[-1] + cell.part, cell.pool, *dict(cell.params).values()): cell for cell in found},
        )

    return run


def test_known_failures_are_told_and_fail_nothing(run, pytester):
    """Of product and guest; with evidence, message and link in the result, and for pytest's own eyes as expected."""
    known = [entry(1, number=1, params="{n: 2}"), entry(2, number=2, host="{pool: first}", message="panicked")]
    chosen = ["-k", "holds or (boots and first)", "-x", "--xfail-tb", "--junitxml=junit.xml"]
    status, output, found = run(*chosen, known=known)
    assert status == pytest.ExitCode.OK, output
    assert "3 known" in output
    said = "ACME-001 on first, second (2 tests): https://bugs.test/1 until 2999-12-31: it is so"
    assert f"known   {said}" in output
    assert "two is not one" in output.partition("KNOWN FAILURES")[2].partition(" interop ")[0]
    cell = found["1", "second", "2"]
    assert (cell.status, cell.tracker, cell.reason) == (
        "known",
        "https://bugs.test/1",
        "AssertionError: two is not one",
    )
    assert found["2", "first"].status == "known"
    assert found["1", "second", "1"].status == "passed"
    result = json.loads(cell.file.read_text())
    assert (result["status"], result["statusDetails"]["known"]) == ("failed", True)
    assert "assert n == 1" in result["statusDetails"]["trace"]
    assert {"name": "known issue, until 2999-12-31", "url": "https://bugs.test/1", "type": "issue"} in result["links"]
    assert {"name": "tag", "value": "known issue"} in result["labels"]
    assert 'type="pytest.xfail"' in (pytester.path / "junit.xml").read_text()


def test_workers_know_them_too(run):
    """The controller hears of them, and adds them up."""
    known = [entry(1, number=1), entry(3, number=3)]
    status, output, found = run("-n2", "-k", "holds or fine", known=known)
    assert status == pytest.ExitCode.OK, output
    assert "known   ACME-001 on first, second (2 tests)" in output
    assert "again   ACME-003 on first, second (2 tests) passes again: https://bugs.test/3; remove" in output
    assert found["1", "first", "2"].status == "known"


def test_what_no_entry_is_about_still_fails(run):
    """The lab's failures, a defect of the test, another message, a second failure that no entry explains."""
    known = [
        entry(2, number=2, message="'did not boot'"),
        *(entry(check, number=check) for check in (4, 5)),
        entry(6, number=6, message="first"),
    ]
    status, output, found = run("-k", "first and not (holds or recovers)", known=known)
    assert status == pytest.ExitCode.TESTS_FAILED
    statuses = {check: cell.status for (check, *_), cell in found.items()}
    assert statuses == {"2": "guest", "3": "passed", "4": "lab", "5": "error", "6": "failed"}
    assert "other   ACME-002 on first: this is another failure than https://bugs.test/2 is about" in output
    assert "another failure" in found["2", "first"].news
    assert not [word for word in ("known   ", "again   ") if f"\n{word}" in output]


def test_a_pool_is_a_pool_where_each_of_its_hosts_is_a_column(run):
    known = [entry(1, number=1, host="{pool: second}"), entry(3, number=3, host="{pool: second, build: '<1'}")]
    status, output, _ = run("--each-host", "-k", "other and (holds or fine)", known=known)
    assert status == pytest.ExitCode.OK, output
    assert "known   ACME-001 on other" in output
    assert "known.yaml:3 ACME-003: build 17763.5329 is not <1" in output


def test_both_failures_of_a_test_may_be_known_and_of_two_attempts_the_second_counts(run):
    known = [entry(6, number=6, message="first|left"), entry(7, number=7, message="and it fails")]
    status, output, found = run("-k", "first and (two_things or recovers)", known=known)
    assert status == pytest.ExitCode.OK, output
    assert found["6", "first"].status == "known"
    cell = found["7", "first"]
    assert (cell.status, cell.earlier, cell.reason) == ("known", ("lab",), "AssertionError: and it fails")


def test_an_expired_one_fails_and_says_since_when(run):
    status, output, found = run("-k", "first and holds", known=[entry(1, number=1, expires="2020-02-29")])
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in output
    said = "the known issue https://bugs.test/1 expired on 2020-02-29, so this fails again"
    assert f"expired ACME-001 on first: {said}" in output
    cell = found["1", "first", "2"]
    assert (cell.status, cell.tracker, cell.news.partition(" (")[0]) == ("failed", "https://bugs.test/1", said)


def test_one_that_passes_again_is_news_and_one_that_fits_nothing_is_listed(run):
    """Not of a failure that comes and goes, nor where the check did not run."""
    known = [
        entry(3, number=1, host="{build: '>17763.9000'}"),
        entry(3, number=2, params="{n: 2}"),
        entry(3, number=3, host="{pool: elsewhere}"),
        entry(3, number=4, host="{backend: vsphere}"),
        entry(1, number=5, host="{build: '>17763.9000'}"),
        entry(3, number=6, host="{build: '>=17763.5000'}"),
        entry(3, number=7, host="{pool: first}", sometimes="true"),
    ]
    status, output, found = run("-k", "fine", known=known)
    assert status == pytest.ExitCode.OK
    assert output.count("passes again") == 1
    assert "again   ACME-003 on second passes again: https://bugs.test/6; remove" in output
    assert found["3", "second"].news.startswith("passes, though https://bugs.test/6 is known")
    assert not found["3", "first"].news
    lines = [line for line in output.splitlines() if line.startswith("unused")]
    assert len(lines) == 2
    assert "known.yaml:2 ACME-003: build 17763.1 is not >17763.9000" in lines[0]
    assert "known.yaml:3 ACME-003: no test of this run has its part and parameters" in lines[1]


def test_two_runs_are_compared_by_what_they_left(run, pytester):
    """By the command that users call, on what this run and the one before it wrote."""
    run("-k", "first and (holds or fine)")
    before = (pytester.path / "out" / "latest").resolve().name
    run("-k", "first and holds", known=[entry(1, number=1)])
    done = CliRunner().invoke(interop, ["compare", before, "latest", "--report-dir", "out"])
    assert done.exit_code == 0, done.output
    now = "fails as a known issue now\n    ACME-001 it holds (n=2) (failed, now known) https://bugs.test/1"
    assert now in done.output
    assert "disappeared\n    ACME-003 it is fine (passed before)" in done.output
    back = CliRunner().invoke(interop, ["compare", "latest", before, "--report-dir", "out"])
    assert back.exit_code == 1, back.output
    now = "newly failing\n    ACME-001 it holds (n=2) (known, now failed): AssertionError: two is not one"
    assert now in back.output


def test_a_wrong_file_is_told_before_anything_runs(run):
    status, output, found = run(known=["{check: ACME-001}"])
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "known.yaml:2:5 known.0.tracker: this key is required" in output
    assert not found
