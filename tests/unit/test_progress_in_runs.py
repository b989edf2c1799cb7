"""How a run goes on, as people see it: on a terminal, in a log, in another shell, in a paragraph, by exit status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import interop
from harness.core import Deadline, Pending, wait_for
from tests.unit.memory_host import furnish
from tests.unit.terminal import OnTerminal, screen

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pathlib
import pytest
from harness.core import LabError
from harness.core.waiting import pause

@pytest.mark.check("ACME-001")
def test_it_waits(host):
    print("nobody may see this")
    pathlib.Path("held").touch()
    while pathlib.Path("hold").exists():
        pause(0.1)

@pytest.mark.check("ACME-002")
@pytest.mark.parametrize("n", [1, 2])
def test_it_holds(host, n):
    assert n == 1, "two is not one: \\x1b[31m"

@pytest.mark.check("ACME-004")
def test_again_it_passes(host):
    if not pathlib.Path("tried").exists():
        pathlib.Path("tried").touch()
        raise LabError("no route yet")

@pytest.mark.check("ACME-003")
def test_it_is_stopped(host):
    raise KeyboardInterrupt
"""


class Lab:
    """Where inner runs of pytest find all they need."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.options = furnish(place)
        (place / "test_inner.py").write_text(TESTS)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
        paths = [str(place), *filter(None, [env.get("PYTHONPATH")])]
        self.env = env | {"PYTHONPATH": os.pathsep.join(paths), "INTEROP_STATE": str(place / "state")}
        self.env |= {"INTEROP_CACHE": str(place / "cache")}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest", *self.options, "--summary-file=summary.txt", *arguments]

    def run(self, *arguments: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            self.argv(*arguments),
            cwd=self.place,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def status(self) -> str:
        """What `interop status` says in another shell."""
        return CliRunner().invoke(interop, ["status", "--json"], env=self.env, catch_exceptions=False).stdout

    @property
    def summary(self) -> str:
        return (self.place / "summary.txt").read_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"))


def deadline():
    return Deadline.after(60)


@pytest.fixture(scope="module")
def watched(lab):
    """A run on a terminal, looked at from another shell while a test of it stands still."""
    (lab.place / "hold").touch()
    (lab.place / "summary.txt").write_text("of last night")
    process = OnTerminal(lab.argv("-k", "not stopped and not again", "--host=first"), lab.place, lab.env)
    wait_for("the test to begin", lambda: (lab.place / "held").exists() or Pending(process.written), deadline())
    shown = re.compile(r"first.*ACME-001 it waits")
    wait_for(
        "the test to be shown", lambda: bool(shown.search(process.written)) or Pending(process.written), deadline()
    )
    while_it_ran = json.loads(lab.status())
    assert not (lab.place / "summary.txt").exists()  # whatever becomes of the run, last night's does not stand for it
    in_words = CliRunner().invoke(interop, ["status"], env=lab.env, catch_exceptions=False).stdout
    (lab.place / "hold").unlink()
    status = process.wait()
    return process.written, while_it_ran, in_words, status


def plain(written):
    """What stands on the screen in the end from the first test on, without what differs from run to run."""
    lines = [re.sub(r"\d+\.\d+s|out/\w{10}|=+", "~", line) for line in screen(written)]
    lines = lines[: lines.index("~ interop ~")]  # whose times differ
    lines = lines[next(number for number, line in enumerate(lines) if line.startswith("test_inner.py")) :]
    return [line for line in lines if not line.startswith("failed ACME-002")]


def test_a_terminal_shows_what_runs_where_and_in_the_end_pytests_own_lines(watched, lab):
    """What was drawn in between is gone, and nothing of pytest's is: it stands there as in a run without progress."""
    written, _, _, status = watched
    assert status == 1
    assert "0 of 3 done" in written
    assert "1 of 3 done (1 passed)" in written
    assert "failed ACME-002 it holds on first: two is not one:" in "\n".join(screen(written))
    assert "nobody may see this" not in written
    assert 0 < written.rfind("\x1b[?25l") < written.rfind("\x1b[?25h")  # the cursor is back
    other = OnTerminal(
        lab.argv("-k", "not stopped and not again", "--host=first", "--progress=none"), lab.place, lab.env
    )
    assert other.wait() == 1
    assert "of 3 done" not in other.written
    assert plain(written) == plain(other.written)


def test_another_shell_sees_the_run_its_host_and_what_is_left(watched, lab):
    _, told, words, _ = watched
    (run,) = told
    assert (run["done"], run["total"], run["counts"], run["lab"]) == (0, 3, {}, "lab")
    (now,) = run["hosts"]["first"]["now"]
    assert (now["test"], now["worker"]) == ("ACME-001 it waits", "main")
    assert run["started"] <= now["since"]
    assert run["left_seconds"] == 20.0  # two others, of which nothing is known yet
    assert Path(run["folder"]).parent == lab.place / "out"
    assert f"run {run['run']}, lab lab, image tiny.qcow2, for 0:" in words
    assert "0 of 3 done, about 0:20 to go" in words
    assert re.search(r"first +ACME-001 it waits +0:\d\d +main", words)


def test_once_it_is_over_no_run_lives(watched, lab):
    assert list((lab.place / "state" / "standing").iterdir()) == []
    assert json.loads(lab.status()) == []


@pytest.fixture(scope="module")
def logged(lab):
    """A run of workers whose output goes to a log."""
    return (*lab.run("-k", "not stopped and not again", "-n", "2", CI="true"), lab.summary)


def test_a_log_gets_a_plain_line_for_each_failure(logged):
    """Also with workers; what a reason brings along of a terminal's language is none there."""
    status, output, _ = logged
    assert status == 1
    lines = sorted(line.strip() for line in output.splitlines() if line.startswith("  failed ACME-002"))
    assert len(lines) == 2
    assert lines[0] == "failed ACME-002 it holds on first: two is not one:"
    assert "\x1b" not in "".join(lines)
    assert "of 6 done" not in output  # it took no minute


def test_the_summary_is_one_paragraph_that_says_what_to_look_at(logged):
    _, _, said = logged
    assert said.count("\n") == 1
    assert said.startswith("interop, lab lab: 2 of 6 need a look; 6 tests in 0:")
    assert "4 passed, 2 failed" in said
    assert re.search(r"Look at ACME-002 it holds on \w+ \(failed: two is not one:\); ACME-002 it holds on \w+ \(", said)
    assert re.search(r"Run \w{10} of image tiny\.qcow2, harness [\d.]+: out/\w{10}\n", said)
    assert "\x1b" not in said


# By exit status: options, what the summary begins with.
ENDS = {
    0: (["-k", "n1 or 1-first or first-1"], "all is well; 1 tests"),
    1: (["-k", "holds", "--host=first"], "1 of 2 need a look; 2 tests"),
    2: (["-k", "stopped or holds", "--host=first"], "1 of 2 need a look; stopped after 2 of 3 tests"),
    4: (["--host=nobody"], "nothing ran"),
    5: (["-k", "nothing"], "nothing ran"),
    10: (["-k", "again", "--host=first"], "1 of 1 need a look; 1 tests in"),
}


@pytest.mark.parametrize("status", ENDS)
def test_exit_statuses_are_those_of_the_table_and_the_summary_fits(lab, status):
    """A summary of an earlier run never stays."""
    (lab.place / "summary.txt").write_text("of last night")
    options, begins = ENDS[status]
    found, output = lab.run(*options)
    assert found == status, output
    assert f"lab lab: {begins}" in lab.summary
    table = (ROOT / "docs" / "nightly.md").read_text()
    assert re.search(rf"^\| `pytest` \| {status} \|", table, re.MULTILINE)
