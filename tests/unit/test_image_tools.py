"""Long tools: their progress, their end, and full disks."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core import Deadline, LabError, MiB, Pending, Size, wait_for
from harness.core.process import run
from harness.image.tools import share_of, space_for, watched
from tests.unit.tiny_images import soon


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_percentages_become_shares() -> None:
    shares: list[float] = []
    program = "print('    (25.00/100%)', end='\\r', flush=True); print('    (100.00/100%)')"
    watched(python(program), soon(), share_of(shares.append))
    assert shares[-1] == 1.0


def test_a_failure_quotes_the_tools_last_words() -> None:
    with pytest.raises(LabError, match=r"ended with 3: the reason"):
        watched(python("import sys; print('the reason', file=sys.stderr); sys.exit(3)"), soon(), lambda _: None)


def test_a_tool_that_overruns_is_ended_with_its_children() -> None:
    """The clock passes the deadline once the tool has told its child's process id."""
    now, said = [0.0], []

    def heard(chunk: bytes) -> None:
        said.append(chunk)
        now[0] = 2.0

    with pytest.raises(LabError, match="did not finish"):
        watched(["sh", "-c", "sleep 1000 & echo $!; wait"], Deadline(1.0, lambda: now[0]), heard)
    wait_for("the child's end", lambda: gone(int(said[0])) or Pending("it runs"), soon())


@pytest.mark.parametrize("hang_up", ["SIG_DFL", "SIG_IGN"], ids=["on a terminal", "under nohup"])
def test_a_tool_does_not_outlive_its_caller(tmp_path: Path, hang_up: str) -> None:
    """Even a caller who is killed: its end of the terminal closes, and the kernel hangs the tool up."""
    pid = tmp_path / "pid"
    program = (
        "import os, signal; from harness.core import Deadline; from harness.image.tools import watched\n"
        f"signal.signal(signal.SIGHUP, signal.{hang_up})\n"
        f"watched(['sh', '-c', 'echo $$ > {pid}; echo ready; exec sleep 1000'], Deadline.after(60), "
        "lambda said: os.kill(os.getpid(), signal.SIGKILL))"
    )
    ended = subprocess.run(python(program), timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    wait_for("the tool's end", lambda: gone(int(pid.read_text())) or Pending("it runs"), soon())


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has collected its status."""
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(LabError, match="no-such-tool"):
        watched(["/no-such-tool"], soon(), lambda _: None)


def test_work_that_cannot_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    with (
        pytest.raises(LabError, match=f"not enough space in {tmp_path}.*about 1024 TiB needed"),
        space_for("a test", tmp_path, Size(1 << 50)),
    ):
        pytest.fail("should not have begun")


def test_our_own_write_to_a_full_disk_names_folder_and_need(tmp_path: Path) -> None:
    with (
        pytest.raises(LabError, match=f"no space left in {tmp_path}.*1 MiB needed"),
        space_for("a test", tmp_path, MiB),
    ):
        Path("/dev/full").write_bytes(b"x")


def test_a_tools_write_to_a_full_disk_names_folder_and_need(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=f"no space left in {tmp_path}"), space_for("a test", tmp_path, MiB):
        run(["dd", "if=/dev/zero", "of=/dev/full", "count=1"], soon())


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), space_for("a test", tmp_path, MiB):
        (tmp_path / "nothing").read_bytes()
