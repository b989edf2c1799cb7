"""Runs of pytest that are stopped, take too long, or find no room: what is torn down, and what is written."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from harness.core import Deadline, Pending, wait_for
from harness.report import cells
from tests.unit.memory_host import furnish

TESTS = """
    import os, resource
    from pathlib import Path
    import pytest
    from harness.core.waiting import pause

    @pytest.fixture(scope="module")
    def wide(host):
        yield
        Path(f"torn-down-wide-{host.name}").touch()

    @pytest.fixture
    def narrow(host):
        yield
        pause(0.5)
        Path(f"torn-down-{host.name}").touch()

    @pytest.mark.check("ACME-001")
    def test_before(host): pass

    @pytest.mark.check("ACME-002")
    def test_long(wide, narrow, host):
        Path(f"running-{host.name}").touch()
        pause(100)

    @pytest.mark.check("ACME-003")
    def test_never_reached(host): pass

    @pytest.mark.check("ACME-004")
    @pytest.mark.deadline("1s")
    def test_overdue(narrow):
        while True:
            try:
                pause(100)
            except ValueError:
                pass

    @pytest.mark.check("ACME-005")
    def test_after(host): pass

    @pytest.mark.check("ACME-006")
    def test_fills_the_disk(host):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    @pytest.mark.check("ACME-008")
    def test_leaves_no_room(host):
        with open("out/filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass

    @pytest.mark.check("ACME-007")
    def test_finds_it_full(host): pass
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a lab, an image that is prepared, and the tests above."""
    place = tmp_path_factory.mktemp("stopped")
    options = furnish(place)
    (place / "test_inner.py").write_text("\n".join(line[4:] for line in TESTS.splitlines()))
    paths = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": paths, "INTEROP_STATE": str(place / "state"), "INTEROP_CACHE": str(place / "cache")}
    return place, options, env


@pytest.fixture
def begin(place, request):
    """Starts an inner pytest, in a process group of its own."""
    folder, options, env = place
    begun = []

    def begin(*arguments, within=()):
        for old in folder.glob("torn-down*"), folder.glob("running*"):
            for path in old:
                path.unlink()
        argv = [*within, sys.executable, "-m", "pytest", *options, *arguments]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(argv, cwd=folder, env=env, start_new_session=True, **pipe)
        begun.append(process)
        return folder, process

    yield begin
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def results(folder):
    """What the newest run came to, by check and pool."""
    return {(cell.check[-1], cell.pool): cell for cell in cells.read(folder / "out" / "latest").cells}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "workers"])
def test_sigterm_finishes_the_teardown_and_writes_what_tests_came_to(begin, workers):
    """Also in xdist's workers, of which only the controller is told."""
    folder, process = begin("-k", "before or long or never", *workers)
    pools = ("first", "second") if workers else ("first",)

    def running():
        assert process.poll() is None, process.communicate()[0]
        hosts = {path.name.removeprefix("running-") for path in folder.glob("running-*")}
        return True if len(hosts) >= len(pools) else Pending(f"{hosts} run")

    wait_for("the tests to run", running, Deadline.after(60), fault=AssertionError)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    torn = {path.name for path in folder.glob("torn-down*")}
    assert len([name for name in torn if "wide" in name]) == len(pools), output
    assert len(torn) == 2 * len(pools), output
    found = results(folder)
    for pool in pools:
        assert found["1", pool].status == "passed"
        assert found["2", pool].status == "error"
        assert "the run was stopped (SIGTERM) while this test ran" in found["2", pool].reason
    assert "3" not in {check for check, _ in found}
    assert (folder / "out" / "latest" / "results" / "pools.json").is_file()


def test_a_test_that_is_overdue_fails_alone_and_is_torn_down(begin):
    """It is nobody's fault but its own, and is not tried again."""
    folder, process = begin("-k", "first and (overdue or after)")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == pytest.ExitCode.TESTS_FAILED, output
    found = results(folder)
    assert (found["4", "first"].status, found["4", "first"].earlier) == ("error", ())
    assert "the test was not over after 0:00:01, its deadline" in found["4", "first"].reason
    assert found["5", "first"].status == "passed"
    assert (folder / "torn-down-first").exists()


def test_a_deadline_is_a_span(begin, place):
    folder, _, _ = place
    (folder / "test_wrong.py").write_text(
        "import pytest\n@pytest.mark.deadline('soon')\ndef test_it(host): pass\n", encoding="utf-8"
    )
    _, process = begin("test_wrong.py")
    output = process.communicate(timeout=60)[0]
    (folder / "test_wrong.py").unlink()
    assert process.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_it[first]: deadline: 'soon' is not a duration" in output
    assert "hint: write deadline('30m')" in output


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "a worker"])
def test_a_full_disk_loses_nothing_that_was_written_and_is_told(begin, workers):
    """Every result that is there is whole; what is not there is named, and no run ends well without it."""
    folder, process = begin("-k", "first and (before or fills or finds)", *workers)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == pytest.ExitCode.INTERNAL_ERROR, output
    assert "lost  not written, File too large in " in output
    assert "the result of ACME-006 fills the disk" in output
    assert "the result of ACME-007 finds it full" in output
    assert re.search(r" 2 passed,( \d+ deselected,)? 1 error ", output), output
    assert "lab   ACME-007 finds it full on first: journal:" in output
    found = results(folder)
    assert {check for check, _ in found} == {"1"}
    latest = folder / "out" / "latest"
    for path in latest.rglob("*.json"):
        json.loads(path.read_text())
    assert not list(latest.rglob("*.tmp"))


SMALL = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
"""A file system that only one process and its children see needs no right but to make a namespace."""
ON_A_SMALL_DISK = """
mkdir -p out
mount -t tmpfs -o size=2m tmpfs out
status=0
"$@" || status=$?
rm out/filler
cp -a out kept
exit $status
"""


@pytest.mark.skipif(
    subprocess.run([*SMALL, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode != 0,
    reason="this machine lets nobody mount in a namespace of his own (kernel.unprivileged_userns_clone)",
)
def test_a_file_system_without_room_loses_nothing_that_was_written(begin):
    """A real one: `No space left on device` comes at any write, also in the middle of one."""
    folder, process = begin("-k", "first and (before or leaves or finds)", within=(*SMALL, ON_A_SMALL_DISK, "sh"))
    output = process.communicate(timeout=60)[0]
    assert process.returncode == pytest.ExitCode.INTERNAL_ERROR, output
    assert "lost  not written, No space left on device in " in output
    assert "the result of ACME-007 finds it full" in output
    latest = folder / "kept" / "latest"
    assert "1" in {cell.check[-1] for cell in cells.read(latest).cells}, output
    every = [json.loads(path.read_text()) for path in latest.resolve().rglob("*.json")]
    assert every, "no file of JSON is left to look at"
    assert not list(latest.resolve().rglob("*.tmp"))
