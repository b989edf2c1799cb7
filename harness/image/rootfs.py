"""The expensive stage: packages into a tree, by mmdebstrap, kept as a tar that is named after what went in."""

from __future__ import annotations

import os
import re
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core import Deadline, LabError
from harness.core.process import need
from harness.image import debian_sources, overlay
from harness.image.progress import Advance
from harness.image.recipe import Debian, digest_of
from harness.image.tools import watched

EPOCH = 1_700_000_000
"""Time stamp of whatever has none of its own: two builds from the same packages should not differ by the clock."""

_STAGES = {b"running apt-get update": 0.02, b"downloading packages": 0.05, b"extracting archives": 0.2}
_STAGES |= {b"installing essential": 0.3, b"installing remaining": 0.4, b"cleaning package": 0.9, b"creating tar": 0.92}
_STAGES |= {b"success in": 1.0}
_BAR = re.compile(rb"(\d{1,3}\.\d\d) *\[")


@dataclass(frozen=True, slots=True)
class Contents:
    """What the rest of the build needs to know of a tree: the newest kernel in it, and its packages."""

    kernel: str
    initrd: str
    packages: dict[str, str]

    @property
    def release(self) -> str:
        """``uname -r`` of the kernel."""
        return self.kernel.removeprefix("boot/vmlinuz-")


def stage_digest(debian: Debian) -> str:
    """What decides the tree: not the mirror's name, not what is laid over it later."""
    early = [item.model_dump(mode="json") for item in debian.files if item.early]
    return digest_of(
        {"stage": 1, "suite": debian.suite, "packages": debian.packages, "out": debian.leave_out, "early": early}
    )


def make_tree_tar(debian: Debian, work: Path, deadline: Deadline, advance: Advance) -> Path:
    """Install the recipe's packages into a fresh tree, and pack that as ``work/tree.tar``.

    As root, mmdebstrap works in a chroot; as an ordinary user in a user namespace. Nothing is mounted outside of its
    own mount namespace, and no loop device is used.

    Raises:
        LabError: mmdebstrap is missing or failed; with the end of what it said.
    """
    tool = need("mmdebstrap", "mmdebstrap")
    early, apt, result = work / "early.tar", work / "apt.conf", work / "tree.tar"
    overlay.write_early(debian, early, EPOCH)
    apt.write_text("\n".join(f"{line};" for line in debian_sources.options(deadline)) + "\n")
    sources = debian_sources.sources_for(debian.suite)
    argv: list[str | Path] = [tool, "--variant=minbase", "--mode=auto", "--format=tar", f"--aptopt={apt}"]
    argv += ['--aptopt=APT::Install-Recommends "false"']
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in debian.leave_out]
    argv += [f"--essential-hook=tar-in {shlex.quote(str(early))} /"]
    argv += ["--include=" + ",".join(debian.packages), debian.suite, result]
    if sources:
        listed = work / "apt.sources"  # the suffix tells mmdebstrap the format
        listed.write_text(sources)
        argv.append(listed)
    watched(argv, deadline, _Stages(advance), env=_environment(work))
    return result


def read_contents(tree: Path) -> Contents:
    """Look into a tree's tar: its kernel, initramfs and package versions.

    Raises:
        LabError: there is no kernel with its initramfs.
    """
    names: set[str] = set()
    status = b""
    with tarfile.open(tree) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            names.add(name)
            if name == "var/lib/dpkg/status":
                held = tar.extractfile(member)
                status = held.read() if held else b""
    kernels = sorted((name for name in names if name.startswith("boot/vmlinuz-")), key=_version_key)
    initrd = "boot/initrd.img-" + kernels[-1].removeprefix("boot/vmlinuz-") if kernels else ""
    if initrd not in names:
        raise LabError(
            "the installed tree holds no kernel with an initramfs",
            operation="image build",
            hint="list a kernel package (linux-image-amd64) and initramfs-tools in the recipe",
        )
    return Contents(kernels[-1], initrd, packages_of(status.decode("utf-8", "replace")))


def extract(tree: Path, member: str, target: Path) -> None:
    """Copy one file out of a tree's tar."""
    with tarfile.open(tree) as tar:
        held = tar.extractfile("./" + member)
        if held is None:
            raise LabError(f"{member} in the installed tree is not a file", operation="image build")
        with target.open("wb") as out:
            while chunk := held.read(1 << 20):
                out.write(chunk)


def packages_of(status: str) -> dict[str, str]:
    """Package versions by name from the text of dpkg's status file."""
    found: dict[str, str] = {}
    for block in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", block, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return found


def _version_key(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _environment(work: Path) -> Mapping[str, str]:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    if os.geteuid() == 0:
        environment["TMPDIR"] = str(work)  # a user namespace's other user ids could not enter our directories
    return environment


class _Stages:
    """mmdebstrap's stages as shares of the whole; its bar, where it draws one, moves within a stage."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._base, self._next = advance, 0.0, 0.05

    def __call__(self, chunk: bytes) -> None:
        ends = sorted(_STAGES.values())
        for words, share in _STAGES.items():
            if words in chunk:
                self._base = share
                self._next = next((end for end in ends if end > share), 1.0)
        bars = _BAR.findall(chunk)
        within = float(bars[-1]) / 100 if bars else 0.0
        self._advance(min(1.0, self._base + within * (self._next - self._base)))
