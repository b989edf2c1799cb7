"""QEMU processes are orphans by design: libvirt forks twice, so that they outlive it, and init reaps them.

libvirt waits until a process it killed is gone, and a zombie is not gone. Where init is a container's, it may reap late
or never, and every stop would cost seconds. There this process adopts its orphans (``prctl(2)``,
PR_SET_CHILD_SUBREAPER) and reaps QEMU the moment it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import select
import subprocess
import threading
from pathlib import Path

from harness.core.waiting import pause

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_MS = 100


@functools.cache
def init_is_slow() -> bool:
    """Whether an orphan that ends stays a zombie for longer than a moment; asked once a process."""
    shell = ["/bin/sh", "-c", "sleep 0.05 & echo $!"]
    orphan = int(
        subprocess.run(shell, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=True).stdout
    )
    try:
        handle = os.pidfd_open(orphan)
    except OSError:
        return False
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)  # readable when it ended, reaped or not
        ended.poll(5000)
        select.select([], [], [], _PATIENCE_MS / 1000)
        return _is_zombie(orphan)
    finally:
        os.close(handle)


@functools.cache
def adopt() -> None:
    """Become the parent of what libvirt starts from now on, and reap it; done once a process."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_reap_for_ever, name="libvirt-orphans", daemon=True).start()


def _reap_for_ever() -> None:
    """Reap adopted QEMUs alone: other children belong to whoever started them, libvirt's direct ones to libvirt.

    ``waitid`` blocks until some child has ended and, asked not to reap, returns at once while one of somebody else's
    waits for its parent's attention.
    """
    while True:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            for pid in _children():
                if _is_zombie(pid) and _is_adopted_qemu(pid):
                    os.waitpid(pid, os.WNOHANG)
        pause(_PATIENCE_MS / 5000)


def _children() -> list[int]:
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def _is_adopted_qemu(pid: int) -> bool:
    """A QEMU in a session of its own; what still is in ours was forked by us and is waited for."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system") and os.getsid(pid) != os.getsid(0)
    except OSError:
        return False


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
