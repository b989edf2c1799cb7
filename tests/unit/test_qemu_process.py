"""Children that never outlive their parent, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.core import Deadline
from harness.core.waiting import Pending, wait_for
from harness.qemu import QemuError
from harness.qemu.process import spawn

PARENT = """
import pathlib, sys, threading
from harness.qemu.process import spawn
made = []
maker = threading.Thread(target=lambda: made.append(spawn(["/bin/sleep", "600"], log=pathlib.Path(sys.argv[1]))))
maker.start()
maker.join()
print(made[0].pid, flush=True)
sys.stdin.read()
"""


def gone(pid: int) -> bool | Pending:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z" or Pending(f"state {state}")


def test_a_killed_parent_takes_its_children_along(tmp_path):
    argv = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        assert gone(child) is not True
        parent.send_signal(signal.SIGKILL)
        wait_for("the child's end", lambda: gone(child), Deadline.after(30))


def test_the_end_of_the_thread_that_asked_ends_no_child(tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(spawn(["/bin/sleep", "600"], log=tmp_path / "log")))
    thread.start()
    thread.join()
    try:
        assert made[0].wait(0.5) is None
        assert made[0].running
    finally:
        made[0].kill()
    assert made[0].wait() == -signal.SIGKILL


def test_a_child_whose_parent_is_gone_already_does_not_start():
    from harness.qemu import leash

    argv = [sys.executable, "-IS", leash.__file__, str(os.getpid() + 1), "/bin/echo", "alive"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the parent is gone" in done.stderr


def test_a_signal_that_was_held_back_for_a_program_is_its_own():
    """Even where this process, as one in the background, ignores it."""
    from harness.qemu import leash

    def held() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    argv = [sys.executable, "-IS", leash.__file__, str(os.getpid()), "/bin/sh", "-c", "kill -INT $$; sleep 0; echo on"]
    done = subprocess.run(argv, preexec_fn=held, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


def test_what_a_child_says_is_kept(tmp_path):
    child = spawn(["/bin/sh", "-c", "echo why >&2; exit 3"], log=tmp_path / "log")
    assert child.wait(30) == 3
    assert child.said() == "why"


def test_files_are_inherited_under_their_numbers(tmp_path):
    read, write = os.pipe()
    child = spawn(
        [sys.executable, "-c", f"import os; os.write({write}, b'through')"], log=tmp_path / "log", fds=(write,)
    )
    os.close(write)
    assert os.read(read, 100) == b"through"
    os.close(read)
    assert child.wait(30) == 0


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(QemuError, match="cannot be started"):
        spawn(["/bin/true"], log=tmp_path / "missing" / "log")


def test_a_process_waits_no_longer_than_told(tmp_path):
    child = spawn(["/bin/sleep", "600"], log=tmp_path / "log")
    began = time.monotonic()
    assert child.wait(0.1) is None
    assert time.monotonic() - began >= 0.1
    child.kill()
