"""``qemu-img``, as functions: what a file is, converting it, comparing what two files hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from harness.core import Deadline, LabError, Size
from harness.core.process import need, run
from harness.image.model import Format
from harness.image.progress import SILENT, Progress
from harness.image.tools import share_of, watched

_OPTIONS = {
    # dynamic is what Hyper-V calls a disk that grows; the block size is its own default (32 MiB).
    Format.VHDX: ["-o", "subformat=dynamic"],
    # OVF import takes no other kind; lsilogic and hwversion are overridden by the descriptor of the OVF.
    Format.VMDK: ["-o", "subformat=streamOptimized"],
    Format.QCOW2: ["-o", "compression_type=zstd", "-c"],
}


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """A disk file as qemu-img sees it."""

    format: str
    virtual_size: Size
    actual_size: Size
    backing: Path | None


def tool() -> str:
    """The path of qemu-img."""
    return need("qemu-img", "qemu-utils")


def info(path: Path, deadline: Deadline) -> DiskInfo:
    """Say what a disk file is.

    Raises:
        LabError: it cannot be read, or claims a format and breaks it (truncated, damaged).
    """
    tree = json.loads(run([tool(), "info", "--output=json", "-U", path], deadline.sooner(60)))
    backing = tree.get("full-backing-filename")
    return DiskInfo(
        format=tree["format"],
        virtual_size=Size(tree["virtual-size"]),
        actual_size=Size(tree["actual-size"]),
        backing=Path(backing) if backing else None,
    )


def check(path: Path, form: str, deadline: Deadline) -> None:
    """Check a disk file's own structure, where its format has one.

    Raises:
        LabError: it is damaged.
    """
    if form in ("qcow2", "vhdx", "vmdk", "vdi"):
        run([tool(), "check", "-q", "-f", form, path], deadline)


def convert(
    source: Path,
    target: Path,
    form: Format | None,
    deadline: Deadline,
    *,
    source_format: str,
    progress: Progress = SILENT,
    what: str = "",
) -> None:
    """Write ``source`` as ``target``; ``form`` None means raw.

    Raises:
        LabError: qemu-img failed.
    """
    words: list[str | Path] = [
        tool(),
        "convert",
        "-p",
        "-W",
        "-m",
        "4",
        "-f",
        source_format,
        "-O",
        form.value if form else "raw",
    ]
    with progress.step(what or f"converting to {form.value if form else 'raw'}") as advance:
        options = _OPTIONS[form] if form else []
        if form is Format.VMDK:
            words.remove("-W")  # a stream is written in order
        watched([*words, *options, source, target], deadline, share_of(advance))


def compare(
    left: tuple[Path, str], right: tuple[Path, str], deadline: Deadline, *, progress: Progress = SILENT, what: str = ""
) -> None:
    """Prove that two files (path, format) hold the same disk.

    Raises:
        LabError: they differ, or cannot be read.
    """
    argv: list[str | Path] = [tool(), "compare", "-p", "-f", left[1], "-F", right[1], left[0], right[0]]
    with progress.step(what or f"comparing {left[0].name} with {right[0].name}") as advance:
        try:
            watched(argv, deadline, share_of(advance))
        except LabError as error:
            raise LabError(
                f"{right[0]} does not hold the same disk as {left[0]}: {error.message}",
                operation="image verify",
                hint="remove the entry with `interop image prune` and build or convert anew",
            ) from error
