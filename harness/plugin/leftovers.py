"""What dead runs left is removed before a run begins, as far as the journal knows of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from harness.lab import Lab
from harness.lab.judge import Wish
from harness.lab.liveness import Liveness
from harness.lab.reaper import Reaper
from harness.lab.store import open_store

_SECONDS = 600.0


def clear(lab: Lab, say: Callable[[str], None]) -> None:
    """Reap, if there is anything; what cannot be removed is said, and does not keep the run from its work.

    Args:
        lab: whose hosts.
        say: tells the user a line.
    """
    left = Reaper(lab, open_store(), Liveness(), Wish()).expected()
    if not left:
        return
    hosts = ", ".join(sorted({finding.host for finding in left}))
    say(f"reaping first what dead runs left on {hosts}: {len(left)} in the journal")
    # In a process of its own: a driver may serve one embedded host in the lifetime of a process, and that is the run's.
    command = [sys.executable, "-m", "harness.cli", "reap", "--lab", str(lab.path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        say(f"reaping took more than {_SECONDS:.0f} s and was given up: see `interop reap --lab {lab.path}`")
        return
    if done.returncode:
        say(f"not all of it could be removed: see `interop reap --lab {lab.path}`")
