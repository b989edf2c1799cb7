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
    @pytest.mark.parametrize("n", range(2))
    def test_before(host, n): pass

    @pytest.mark.check("ACME-011")
    @pytest.mark.shape(vcpus=2)
    def test_dies(host):
        if host.name == "first":
            Path("dead-first").touch()
            raise LabError("connection reset by peer")

    @pytest.mark.check("ACME-012")
    @pytest.mark.shape(vcpus=2)
    @pytest.mark.parametrize("n", range(10))
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


def test_a_test_is_tried_three_times_at_most_with_fixtures_of_every_scope_made_anew(run, pytester):
    """A module's fixture that failed would stay failed. What product and guest failed, or what is written wrongly, is
    not tried again. ``-x`` and ``--lf`` count the last try.
    """
    status, output, found = run("-k", "first")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    cell = found["02", "first"]
    assert (cell.status, cell.earlier, cell.reason) == ("lab", ("lab", "lab"), "LabError: no route, 3")
    assert (found["03", "first"].status, found["04", "first"].status) == ("flaky", "passed")
    sizes = {path.name: path.stat().st_size for path in pytester.path.glob("*-first")}
    assert (sizes["wide-first"], sizes["wide-down-first"]) == (2, 1)
    assert (sizes["product-first"], sizes["guest-first"], sizes["wrong-first"]) == (1, 1, 1)
    _, output, _ = run("--lf", "-x", "-k", "first")
    assert "rerun previous 4 failures" in output
    assert "1 failed" in output
    assert "stopping after 1 failures" in output


def test_a_host_that_cannot_be_opened_costs_one_test_and_its_column_only(run):
    """Whichever process found it: all others know, and ask it no more."""
    status, output, found = run("-n", "2", first=", down: true")
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
    assert len(after) == 10
    assert {cell.status for (_, pool, *_), cell in found.items() if pool == "second"} == {"passed"}
    assert output.count("its other tests are left out") == 1
    asked = (pytester.path / "asked-first").read_text()
    assert len(asked) == 1, "one time-out, not ten"
    if workers:
        return
    (pytester.path / "dead-first").unlink()
    _, output, found = run("--lf", source=DYING.replace('Path("dead-first").touch()', "return"))
    assert "rerun previous 11 failures" in output
    assert "10 failed, 1 passed" in output


FOUND_ELSEWHERE = """
    import pytest
    from harness.core import LabError
    from harness.plugin.away import Notes
    from harness.plugin.state import AWAY, KEY

    @pytest.fixture(scope="module")
    def held(host):
        return host.name

    @pytest.mark.check("ACME-010")
    def test_before(held, request):
        assert held == "second"
        folder = request.config.stash[KEY].folder.path
        assert Notes(folder / AWAY).put("second", LabError("as another worker found"))

    @pytest.mark.check("ACME-011")
    def test_after(held, host):
        assert held == host.name == "other"
"""


def test_where_another_process_found_it_dead_fixtures_that_hold_it_are_made_anew(run):
    status, output, found = run("-k", "second", source=FOUND_ELSEWHERE)
    assert status == 0, output
    assert [found[check, "second"].host for check in ("10", "11")] == ["second", "other"]


def test_where_a_pool_has_another_member_it_takes_over(run):
    """The test that its host died under is tried there, and is flaky."""
    source = DYING.replace('"first"', '"second"').replace("dead-first", "dead-second")
    status, output, found = run("-k", "second", source=source.replace('assert host.name != "second"', "pass"))
    assert status == FLAKY_STATUS, output
    assert (found["11", "second"].status, found["11", "second"].host) == ("flaky", "other")
    assert {cell.host for (check, *_), cell in found.items() if check == "12"} == {"other"}
