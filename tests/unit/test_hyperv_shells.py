"""Shells of killed processes are ended by whoever opens the host next; those of living ones are left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.backends.hyperv.errors import Broken, Ended
from harness.backends.hyperv.shells import Shells

OPEN = """
import os, signal, sys
from pathlib import Path
from harness.backends.hyperv.shells import Shells
for shell in sys.argv[2:]:
    Shells(Path(sys.argv[1])).opened(shell)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path):
    """The shells of a process that was killed with two of them, beside one of ours."""
    subprocess.run([sys.executable, "-c", OPEN, tmp_path, "A1-B2", "C3-D4"], check=False, timeout=60)
    shells = Shells(tmp_path)
    shells.opened("E5-F6")
    return shells


def test_a_killed_process_s_shells_are_ended_once_and_a_living_one_s_are_not(killed):
    """One that its host has ended by itself is forgotten as well."""
    ended = []

    def end(shell):
        ended.append(shell)
        raise Ended("no such shell")

    killed.end_orphans(end)
    killed.end_orphans(end)
    assert sorted(ended) == ["A1-B2", "C3-D4"]


def test_a_host_that_is_out_of_reach_is_tried_once_and_again_next_time(killed):
    """Whoever opens it is told what is wrong; nobody waits for thirty time-outs."""
    tried = []

    def end(shell):
        tried.append(shell)
        raise Broken("no route")

    killed.end_orphans(end)
    assert len(tried) == 1
    killed.end_orphans(tried.append)
    assert len(tried) == 3


def test_a_shell_that_was_closed_is_nobody_s(killed, tmp_path):
    """Its note is gone."""
    killed.closed("E5-F6")
    killed.closed("E5-F6")
    assert not list(tmp_path.glob("*E5-F6"))
