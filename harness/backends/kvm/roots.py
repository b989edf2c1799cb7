"""Roots of the embedded driver: a pool of directories, each owned by at most one process at a time.

libvirt lets a process open one embed root in its lifetime and a root be open in one process. So a process takes the
first free root of the pool and keeps it, locked, until it exits; the lock is the kernel's, so a killed owner frees it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from harness.backends.kvm.interrupted import end_interrupted
from harness.core import LabError

_LONGEST = 50
"""libvirt puts ``/lib/qemu/domain-NNN-<20 characters>/monitor.sock`` below a root, and a Unix socket's address ends
at 107 bytes."""

_QEMU_CONF = {
    "stdio_handler": '"file"',  # else the driver wants a virtlogd
    "security_driver": '"none"',
    "dynamic_ownership": "0",  # everything belongs to this user already
    "remember_owner": "0",
    "namespaces": "[]",
    "cgroup_controllers": "[]",
}

_taken: dict[Path, TextIO] = {}
_taken_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Root:
    """One root: ``path`` is where it really is, ``alias`` a name short enough for the sockets below it."""

    path: Path
    alias: Path

    @property
    def uri(self) -> str:
        """What to open."""
        return f"qemu:///embed?root={self.alias}"

    @property
    def machines(self) -> Path:
        """A folder a machine, named by UUID: disks, seed, console, checkpoints, and the owner's mark."""
        return self.path / "machines"

    @property
    def sockets(self) -> Path:
        """Serial ports and agent channels, by a short name."""
        return self.alias / "s"


def take(pool: Path, *, only: Path | None = None) -> Root:
    """A root for this process: the one it has already, or the first free one of ``pool``, or exactly ``only``.

    Raises:
        LabError: ``only`` is in use elsewhere, or this process has a root of another pool.
    """
    with _taken_lock:
        for path in _taken:
            if path == only or (only is None and path.parent == pool):
                return _prepared(path)
        if _taken:
            raise LabError(
                f"this process already runs the embedded driver below {next(iter(_taken))}, and libvirt allows one",
                operation="connect",
                hint="give further hosts another URI, or run them in another process",
            )
        if only is not None:
            if not _lock(only):
                raise LabError(f"{only} is in use by another process", operation="connect")
            return _prepared(only)
        number = 0
        while not _lock(pool / str(number)):
            number += 1
        return _prepared(pool / str(number))


def is_taken(path: Path) -> bool:
    """Whether a living process, this one or another, has the root; it may have another owner the moment after."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def all_of(pool: Path) -> Iterator[Root]:
    """Every root of the pool, whoever has it."""
    if pool.is_dir():
        for path in sorted(entry for entry in pool.iterdir() if entry.is_dir()):
            yield Root(path, _alias(path))


def _lock(path: Path) -> bool:
    path.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    _taken[path] = lock
    end_interrupted(path, _alias(path))
    return True


def _prepared(path: Path) -> Root:
    settings = dict(_QEMU_CONF)
    if os.getuid() == 0:
        settings |= {"user": '"root"', "group": '"root"'}
    root = Root(path, _alias(path))
    for folder in (path / "etc", path / "machines", path / "s"):
        folder.mkdir(exist_ok=True)
    (path / "etc" / "qemu.conf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    if root.alias != path:
        _link(root.alias, path)
    _learn_from_others(path)
    return root


def _learn_from_others(path: Path) -> None:
    """Asking each QEMU of the machine what it can do takes libvirt seconds; another root's answers serve as well."""
    known = Path("cache", "qemu", "capabilities")
    if (path / known).exists():
        return
    for other in path.parent.iterdir():
        if (other / known).is_dir():
            shutil.copytree(other / known, path / known)  # libvirt believes them only if nothing has changed since
            return


def _alias(path: Path) -> Path:
    if len(str(path)) <= _LONGEST:
        return path
    # Saved machines hold this path, so it must not depend on the environment of the day (XDG_RUNTIME_DIR, TMPDIR).
    mark = hashlib.sha256(str(path).encode()).hexdigest()[:10]
    return Path("/tmp") / f"interop-{os.getuid()}" / mark  # noqa: S108 - the folder is checked to be ours alone


def _link(alias: Path, path: Path) -> None:
    folder = alias.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise LabError(
            f"{folder} is not a folder of this user alone",
            operation="connect",
            hint="remove it",
        )
    if not alias.is_symlink() or alias.readlink() != path:
        alias.unlink(missing_ok=True)
        alias.symlink_to(path)
