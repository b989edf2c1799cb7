"""What stands in a release file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from harness.core.config import StrictModel
from harness.image.recipe import Sha256
from harness.lab.fields import Name

_KINDS = ("packages", "files", "tarball", "image")

# Debian Policy 5.6.1, and wide enough for a name of rpm.
PackageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]+$")]
SuiteName = Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z-]+)?$")]
Unit = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.@\\-]+( [A-Za-z0-9:_.@\\-]+)*$")]
Module = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


def _share(value: Any) -> Any:
    if isinstance(value, str):
        number, percent, rest = value.partition("%")
        try:
            value = float(number) / 100 if percent and not rest.strip() else float("nan")
        except ValueError:
            value = float("nan")
    if not isinstance(value, float) or not 0 <= value < 1:
        raise ValueError("a share is written as 2 % or 0.02, and is less than 100 %")
    return value


Share = Annotated[float, BeforeValidator(_share, json_schema_input_type=float | str)]
"""A part of a whole."""


class ArchivePackage(StrictModel):
    """A Debian package of the archive that images are built from."""

    name: PackageName
    """The package."""
    version: Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.+:~-]*$")]
    """Its whole version, epoch and revision included."""
    suite: SuiteName | None = None
    """Where it is, if elsewhere than the side says."""
    sha256: Sha256 | None = None
    """Of the package's file. `interop release pin` writes it; without it nothing is installed."""


class PackageFile(StrictModel):
    """A package that somebody built."""

    path: Path
    """A `.deb` or `.rpm` file; a relative path begins at the folder of this file."""
    sha256: Sha256 | None = None
    """Of the file."""

    @field_validator("path")
    @classmethod
    def _a_package(cls, path: Path) -> Path:
        if path.suffix not in (".deb", ".rpm"):
            raise ValueError(f"{path.name!r} is no package: a .deb or a .rpm file is wanted")
        return path


class Tarball(StrictModel):
    """An archive of files with a script that installs them."""

    path: Path
    """What tar can unpack; a relative path begins at the folder of this file."""
    sha256: Sha256 | None = None
    """Of the file."""
    install: tuple[str, ...] = Field(min_length=1)
    """The command that installs it, run as root in the folder that it was unpacked into: `[sh, install.sh, --default]`.
    It ends with 0 when all is in place and running, asks nothing, and needs no network."""
    remove: tuple[str, ...] = ()
    """The command that removes all of it, run likewise; left out: what was installed cannot be removed, and I31 says
    so."""


class ImageSide(StrictModel):
    """A whole image that guests of this side boot."""

    name: str
    """What `--image` takes: a recipe's name, a recipe file, a disk."""
    sha256: Sha256 | None = None
    """Of the disk's content, as `interop image show` tells it."""


class Side(StrictModel):
    """One version of the services. It is packages of the archive, package files, a tarball or a whole image."""

    packages: tuple[ArchivePackage, ...] = ()
    """Packages of the archive, with those that they need and the image lacks; installed together."""
    suite: SuiteName | None = None
    """The archive's suite that has them: `bookworm`, `bookworm-security`, `bookworm-backports`."""
    files: tuple[PackageFile, ...] = ()
    """Package files, installed together; all `.deb` or all `.rpm`."""
    tarball: Tarball | None = None
    """An archive with an installing script."""
    image: ImageSide | None = None
    """A whole image."""
    kernel: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]+$")] | None = None
    """What `uname -r` must say after the guest was booted again: the packages or the tarball bring a kernel."""
    reboot: bool = False
    """Whether the guest must be booted again for it to work; a kernel always is."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in _KINDS if getattr(self, kind)]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of packages, files, tarball and image; here is {given or 'none'}")
        if self.packages and self.suite is None and not all(package.suite for package in self.packages):
            raise ValueError("needs a suite: where in the archive its packages are")
        if self.suite is not None and not self.packages:
            raise ValueError("a suite is of use to packages alone")
        if len({file.path.suffix for file in self.files}) > 1:
            raise ValueError(".deb and .rpm files cannot be installed together")
        if self.image and (self.kernel or self.reboot):
            raise ValueError("a whole image is booted as it is: kernel and reboot are of use to packages and tarballs")
        return self


class MustChange(StrictModel):
    """What must be of another version on the candidate's side than on the baseline's, or nothing was compared."""

    packages: tuple[PackageName, ...] = ()
    """Installed packages, by their version."""
    services: tuple[Unit, ...] = ()
    """Services, by the program that their main process runs: one that was not started again still runs the old one. Of
    a service that distributions call by several names give all, with blanks between."""
    modules: tuple[Module, ...] = ()
    """Kernel modules, by the build that is loaded, or else by the file that would be."""
    kernel: bool = False
    """The running kernel."""

    def __bool__(self) -> bool:
        return bool(self.packages or self.services or self.modules or self.kernel)


class Required(StrictModel):
    """Checks that must pass for a sign-off."""

    checks: tuple[str, ...] = Field(min_length=1)
    """Their numbers, or patterns of them: `I*`, `T0?`."""
    pools: tuple[str, ...] = ("*",)
    """In which pools of the lab, or patterns of their names."""


class ReleaseFile(StrictModel):
    """A release to validate: a candidate, and the baseline that it is held against."""

    name: Name | None = None
    """What it is called; left out: as the file is."""
    summary: str = ""
    """One line for lists and for the statement."""
    hosts: tuple[Name, ...] = Field(min_length=1)
    """The backends whose guests get it: `kvm`, `hyperv`, `vsphere`. On other hosts a run's guests are as the image has
    them."""
    services: tuple[Unit, ...] = ()
    """Systemd units that must run once it is installed. Of one that distributions call by several names give all, with
    blanks between."""
    baseline: Side
    """What is trusted today."""
    candidate: Side
    """What may ship tomorrow."""
    must_change: MustChange = MustChange()
    """What must be of another version on the candidate's side."""
    required: tuple[Required, ...] = ()
    """The checks that must pass for a sign-off, by pool."""
    measure: dict[str, Share] = Field(default_factory=dict)
    """By measurement (`C07.speed_up`, or a pattern): the loss that does not matter, as `2 %`."""

    @model_validator(mode="after")
    def _two_versions(self) -> Self:
        if self.baseline == self.candidate:
            raise ValueError("baseline and candidate are the same")
        images = [side.image is not None for side in (self.baseline, self.candidate)]
        if any(images) != all(images):
            raise ValueError("a whole image can only be held against another image: both sides, or none")
        if not any(images) and not self.must_change:
            raise ValueError("must_change must name something: else nothing tells whether the candidate is installed")
        return self


def file_name(path: Path | PurePosixPath) -> str:
    """A name for a payload's file in a guest: nothing that a shell or a package manager would read as more."""
    return "".join(letter if letter.isalnum() or letter in "+._~-" else "_" for letter in path.name).lstrip("-.")
