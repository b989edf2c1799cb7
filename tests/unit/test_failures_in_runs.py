"""What becomes of the lab's failures in whole runs of pytest: tried again, told as flaky, and hosts that go away."""

import json
import os
import re

import pytest

from harness.report import cells
from harness.report.summary import FLAKY_STATUS
from tests.unit.memory_host import furnish

pytest_plugins = ["pytester"]
TESTS = """
    import json, os
    from pathlib import Path
    import pytest
    from harness.core import GuestError, LabError, UsageError

    def count(name):
        "How often this was called, over all processes and fixtures."
        with open(name, "a") as file:
            file.write("x")
        return Path(name).stat().st_size

    @pytest.fixture(scope="module")
    def wide(host):
        times = count(f"wide-{host.name}")
        if times == 1:
            raise LabError("not yet")
        yield times
        count(f"wide-down-{host.name}")

    @pytest.mark.check("ACME-001")
    def test_comes_back_the_third_time(host):
        if (times := count(f"third-{host.name}")) < 3:
            raise LabError(f"no route, {times}")

    @pytest.mark.check("ACME-002")
    def test_never_comes_back(host):
        raise LabError(f"no route, {count(f'never-{host.name}')}")

    @pytest.mark.check("ACME-003")
    def test_has_a_wide_fixture(wide):
        assert wide == 2

    @pytest.mark.check("ACME-004")
    def test_stands_behind_it(wide):
        assert wide == 2

    @pytest.mark.check("ACME-005")
    def test_the_product_fails(host):
        count(f"product-{host.name}")
        assert False, "it does"

    @pytest.mark.check("ACME-006")
    def test_the_guest_fails(host):
        count(f"guest-{host.name}")
        raise GuestError("it panicked")

    @pytest.mark.check("ACME-007")
    def test_is_called_wrongly(host):
        count(f"wrong-{host.name}")
        raise UsageError("no such shape")

    @pytest.mark.check("ACME-008")
    def test_is_fine(host): pass
"""
DYING = """
    from pathlib import Path
    import pytest
    from harness.core import LabError
    from harness.core.waiting import pause

    @pytest.mark.check("ACME-010")
    @pytest.mark.parametrize("n", range(4))
    def test_before(host, n): pass

    @pytest.mark.check("ACME-011")
    @pytest.mark.shape(vcpus=2)
    def test_dies(host):
        if host.name == "first":
            Path("dead-first").touch()
            raise LabError("connection reset by peer")

    @pytest.mark.check("ACME-012")
    @pytest.mark.shape(vcpus=2)
    @pytest.mark.parametrize("n", range(30))
    def test_after(host, n):
        assert host.name != "first"
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The image is prepared once for all runs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(pytester, monkeypatch, cache):
    """Runs an inner pytest: its exit status, its output, cells by check's last digits and pool."""
    place = pytester.path
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("INTEROP_STATE", str(place / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(cache))
    monkeypatch.chdir(place)
    furnished = []

    def run(*arguments, source=TESTS, first="", second=""):
        if not furnished:
            furnished.extend(furnish(place, first=first, second=second))
        options = [one for one in furnished if one not in ("-p", "no:cacheprovider")]
        pytester.makepyfile(source)
        done = pytester.runpytest_subprocess(*options, *arguments, timeout=120)
        output = "\n".join([*done.outlines, *done.errlines])
        found = cells.read(place / "out" / "latest").cells if list(place.glob("out/latest/results/*.json")) else ()
        return (
            int(done.ret),
            output,
            {(cell.check[-2:], cell.pool, *dict(cell.params).values()): cell for cell in found},
        )

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "workers"])
def test_what_passes_when_tried_again_is_flaky_and_no_pass(run, pytester, workers):
    """In words, in the exit status, on pages and in JUnit files; every try is a result of its own."""
    chosen = ["-k", "first and (third or fine)", "--junitxml=junit.xml", *workers]
    status, output, found = run(*chosen)
    assert status == FLAKY_STATUS, output
    assert re.search(r"1 passed.*, 1 flaky", output)
    assert "1 pass  1 flaky" in output
    said = "passed at try 3; before: lab: no route, 1; lab: no route, 2"
    assert "flaky ACME-001 comes back the third time on first: passed at try 3; before:" in output
    cell = found["01", "first"]
    assert (cell.status, cell.earlier, cell.reason) == ("flaky", ("lab", "lab"), "LabError: no route, 1")
    assert found["08", "first"].status == "passed"
    results = [json.loads(path.read_text()) for path in pytester.path.glob("out/latest/results/*-result.json")]
    tries = sorted((one for one in results if one["historyId"] == cell.history), key=lambda one: one["start"])
    assert [one["status"] for one in tries] == ["broken", "broken", "passed"]
    assert tries[-1]["statusDetails"]["flaky"] is True
    assert {"name": "tag", "value": "flaky"} in tries[-1]["labels"]
    assert "**Tried before**: lab: no route, 2" in tries[-1]["description"]
    assert f'name="flaky" value="{said}"' in (pytester.path / "junit.xml").read_text()


def test_a_test_is_tried_three_times_at_most_and_then_fails(run, pytester):
    status, output, found = run("-k", "first and never", "-x")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed" in output
    cell = found["02", "first"]
    assert (cell.status, cell.earlier, cell.reason) == ("lab", ("lab", "lab"), "LabError: no route, 3")
    _, output, _ = run("--lf", "-k", "first")
    assert "1 failed" in output
    assert "6 deselected" not in output


def test_fixtures_of_every_scope_are_torn_down_and_set_up_anew(run, pytester):
    """One of a module that failed would stay failed, and one that holds what is gone would be used again."""
    status, output, found = run("-k", "first and (wide or behind)")
    assert status == FLAKY_STATUS, output
    assert (found["03", "first"].status, found["04", "first"].status) == ("flaky", "passed")
    assert (pytester.path / "wide-first").stat().st_size == 2
    assert (pytester.path / "wide-down-first").stat().st_size == 1


def test_only_what_the_lab_is_to_blame_for_is_tried_again(run, pytester):
    """Not what the product or the guest failed, nor what is written wrongly."""
    run("-k", "first and (product or guest or wrongly)")
    assert [(pytester.path / f"{name}-first").stat().st_size for name in ("product", "guest", "wrong")] == [1, 1, 1]


@pytest.mark.parametrize("workers", [(), ("-n", "3")], ids=["one process", "workers"])
def test_a_host_that_cannot_be_opened_costs_one_test_and_its_column_only(run, workers):
    """Whichever process found it: all others know, and ask it no more."""
    status, output, found = run("--lf", *workers, first=", down: true")
    assert status == pytest.ExitCode.TESTS_FAILED
    first = [cell for (_, pool, *_), cell in found.items() if pool == "first"]
    assert sorted(cell.status for cell in first) == ["away"] * 7 + ["lab"], output
    [reason] = {cell.reason for cell in first if cell.status == "away"}
    assert reason.startswith("not available since ")
    assert reason.endswith("UTC: nobody answers")
    assert found["08", "second"].status == "passed"
    assert "away  7 x  first: not available since" in output
    assert "7 away" in output
    assert output.count("its other tests are left out") == 1


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "workers"])
def test_a_host_that_dies_in_the_middle_is_asked_once_more_and_then_left_alone(run, pytester, workers):
    """The test it died under is not tried again there; the others go on elsewhere, and --lf runs what was left out."""
    status, output, found = run(*workers, source=DYING)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert (found["11", "first"].status, found["11", "first"].earlier) == ("lab", ()), output
    assert found["11", "first"].reason == "LabError: connection reset by peer"
    after = [cell for (check, pool, *_), cell in found.items() if (check, pool) == ("12", "first")]
    assert {cell.status for cell in after} == {"away"}
    assert len(after) == 30
    assert {cell.status for (_, pool, *_), cell in found.items() if pool == "second"} == {"passed"}
    assert output.count("its other tests are left out") == 1
    asked = (pytester.path / "asked-first").read_text()
    assert len(asked) == 1, "one time-out, not thirty"
    (pytester.path / "dead-first").unlink()
    _, output, found = run("--lf", source=DYING.replace('Path("dead-first").touch()', "return"))
    assert "31 " in output


def test_where_a_pool_has_another_member_it_takes_over(run):
    """The test that its host died under is tried there, and is flaky."""
    source = DYING.replace('"first"', '"second"').replace("dead-first", "dead-second")
    status, output, found = run("-k", "second", source=source.replace('assert host.name != "second"', "pass"))
    assert status == FLAKY_STATUS, output
    assert (found["11", "second"].status, found["11", "second"].host) == ("flaky", "other")
    assert {cell.host for (check, *_), cell in found.items() if check == "12"} == {"other"}
