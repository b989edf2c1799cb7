"""A variant: an image with a few files changed, made without booting or mounting it. For planting defects."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from harness.core import Deadline, LabError, UsageError
from harness.core.process import need, run
from harness.image import content, qemuimg
from harness.image.disk import extra_arguments
from harness.image.model import Format, Image
from harness.image.partitions import root_of
from harness.image.progress import SILENT, Job, Progress
from harness.image.recipe import digest_of
from harness.image.store import Store

_ARGUMENTS = re.compile(r"[A-Za-z0-9_.,:=/@+ -]*")
_NAME = re.compile(r"/[A-Za-z0-9_./@:+-]+")
_EXTRA = "/boot/grub/extra.cfg"


def variant(
    image: Image,
    files: Mapping[str, bytes] | None = None,
    *,
    kernel_arguments: str = "",
    masked_units: Sequence[str] = (),
    removed: Sequence[str] = (),
    executable: Sequence[str] = (),
    name: str | None = None,
    store: Store | None = None,
    deadline: Deadline | None = None,
    progress: Progress = SILENT,
) -> Image:
    """The image with these changes inside, kept in the store under what the changes come to.

    Args:
        image: what to start from; an ext4 root on a GUID partition table.
        files: content by absolute path; folders are made as needed, mode 0644, owner root.
        kernel_arguments: added to the kernel's command line (images built here alone).
        masked_units: systemd units that shall not start.
        removed: files that shall be gone.
        executable: which of ``files`` get mode 0755.
        name: of the new image; default: the image's own with ``+`` and a digest.
        store: where it goes; default: the user's.
        deadline: when to give up.
        progress: told each step.

    Raises:
        UsageError: a path or argument that cannot be written safely.
        LabError: the disk has no such file system, or a tool failed.
    """
    changed = dict(files or {})
    if kernel_arguments:
        changed[_EXTRA] = extra_arguments(kernel_arguments)
    links = {f"/etc/systemd/system/{unit}": "/dev/null" for unit in masked_units}
    changes = _Changes(changed, links, tuple(removed), frozenset(executable))
    _refuse_unsafe([*changed, *links, *removed], kernel_arguments)
    digest = digest_of({"variant": 1, "of": image.digest, **changes.as_tree()})

    def make(job: Job) -> Image:
        raw, target = job.work / "scratch" / "disk.raw", job.work / "disk.qcow2"
        raw.parent.mkdir()
        qemuimg.convert(image.qcow2, raw, None, job.deadline, source_format="qcow2", progress=job.progress)
        disk = _FileSystem(raw, job)
        if kernel_arguments and not disk.has(_EXTRA):
            raise UsageError(f"{image.name} was not built here: its kernel arguments cannot be changed")
        with job.progress.step("changing files inside"):
            disk.change(changes)
        seen = content.digest_of_raw(raw, job.progress)
        qemuimg.convert(raw, target, Format.QCOW2, job.deadline, source_format="raw", progress=job.progress)
        return replace(
            image,
            name=name or f"{image.name}+{digest[:8]}",
            digest=seen,
            files={Format.QCOW2: target},
            kernel=_linked(image.kernel, job.work),
            initrd=_linked(image.initrd, job.work),
            labels={**image.labels, "variant": f"of {image.name} {image.digest[:12]}"},
        )

    return (store or Store()).keep(digest, make, deadline, progress).image


@dataclass(frozen=True, slots=True)
class _Changes:
    files: Mapping[str, bytes]
    links: Mapping[str, str]
    removed: tuple[str, ...]
    executable: frozenset[str]

    def as_tree(self) -> dict[str, Any]:
        return {
            "files": {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()},
            "links": dict(self.links),
            "removed": sorted(self.removed),
            "executable": sorted(self.executable),
        }


class _FileSystem:
    """The root file system of a raw disk, through debugfs."""

    def __init__(self, raw: Path, job: Job) -> None:
        self._device = f"{raw}?offset={root_of(raw).offset}"
        self._scratch, self._deadline = raw.parent, job.deadline
        self._debugfs = need("debugfs", "e2fsprogs")

    def has(self, path: str) -> bool:
        told = run([self._debugfs, "-R", f"stat {path}", self._device], self._deadline)
        return b"Inode:" in told

    def change(self, changes: _Changes) -> None:
        script = self._scratch / "debugfs"
        script.write_text("\n".join(self._commands(changes)) + "\n")
        run([self._debugfs, "-w", "-f", script, self._device], self._deadline)
        # debugfs goes on after a failed command and still ends with 0: what counts is what is there afterwards.
        lacking = [path for path in [*changes.files, *changes.links] if not self.has(path)]
        left = [path for path in changes.removed if self.has(path)]
        if lacking or left:
            raise LabError(f"debugfs did not write {lacking} or not remove {left}", operation="image variant")
        run([need("e2fsck", "e2fsprogs"), "-fn", self._device], self._deadline)

    def _commands(self, changes: _Changes) -> list[str]:
        made = [*changes.files, *changes.links]
        folders = {str(parent) for path in made for parent in PurePosixPath(path).parents if str(parent) != "/"}
        commands = [f"mkdir {folder}" for folder in sorted(folders, key=len) if not self.has(folder)]
        commands += [f"rm {path}" for path in [*made, *changes.removed] if self.has(path)]
        for index, (path, data) in enumerate(changes.files.items()):
            local = self._scratch / f"file-{index}"
            local.write_bytes(data)
            mode = "0100755" if path in changes.executable else "0100644"
            fields = {"mode": mode, "uid": "0", "gid": "0"}
            commands.append(f'write "{local}" {path}')
            commands += [f"set_inode_field {path} {field} {value}" for field, value in fields.items()]
        return commands + [f"symlink {path} {target}" for path, target in changes.links.items()]


def _refuse_unsafe(paths: Sequence[str], arguments: str) -> None:
    """Debugfs reads a command a line and GRUB a script: what would need quoting there is refused, not quoted."""
    for path in paths:
        if not _NAME.fullmatch(path) or ".." in PurePosixPath(path).parts:
            raise UsageError(f"{path!r} cannot be changed in an image: an absolute path of letters, digits and _./@:+-")
    if not _ARGUMENTS.fullmatch(arguments):
        raise UsageError(f"{arguments!r} cannot become kernel arguments: letters, digits and _.,:=/@+- only")


def _linked(path: Path | None, folder: Path) -> Path | None:
    if path is None:
        return None
    target = folder / path.name
    os.link(path, target)
    return target
