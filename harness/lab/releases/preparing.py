"""A release's files on the controller: found or fetched, and each held against its pinned hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from filelock import FileLock

from harness.core import Deadline, paths
from harness.core.config import Problem, complaint, problem
from harness.image.progress import SILENT, Progress
from harness.image.resolving import resolve
from harness.image.source import sha256_of
from harness.lab.releases.archive import Archive, NotThere
from harness.lab.releases.load import Release, Which
from harness.lab.releases.models import ArchivePackage, PackageFile, Side, Tarball, file_name

FETCH = timedelta(minutes=15)
_INSTALL = timedelta(minutes=6)
_KERNEL = timedelta(minutes=25)  # unpacked, an initramfs made and booted, on an emulated CPU

Place: TypeAlias = tuple[str | int, ...]
"""Where in a release file something stands."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One file that goes into a guest.

    Args:
        path: on the controller.
        sha256: of its content; verified.
        package: its package and version, where the release file says so.
        name: what it is called in the guest.
    """

    path: Path
    sha256: str
    package: tuple[str, str] | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A release whose files are at hand.

    Args:
        release: which.
        which: the side under test.
        payloads: the files of each side; the candidate's only where that is under test.
    """

    release: Release
    which: Which
    payloads: dict[Which, tuple[Payload, ...]]

    @property
    def digest(self) -> str:
        """What guests of it have in common."""
        return self.release.digest(self.which)

    @property
    def side(self) -> Side:
        """The side under test."""
        return self.release.side(self.which)

    @property
    def image(self) -> str | None:
        """What its guests boot, where it is a whole image."""
        return self.side.image.name if self.side.image else None

    @property
    def patience(self) -> timedelta:
        """How long installing it may take, on an emulated CPU."""
        sides = [self.release.side(which) for which in self.payloads]
        return sum((_KERNEL if side.kernel else _INSTALL for side in sides if not side.image), timedelta())


def prepare(
    release: Release, which: Which, *, deadline: Deadline | None = None, progress: Progress = SILENT
) -> Prepared:
    """Have what a side needs at hand, and for the candidate the baseline's files too: it is installed over it.

    Raises:
        UsageError: a pin is missing or wrong; a line with file, line and column for each, and what is right.
        LabError: the archive cannot be reached.
    """
    whole = deadline or Deadline.after(FETCH)
    # An image takes nothing from the other, and is not built for it.
    sides = [which] if which is Which.BASELINE or release.candidate.image else list(Which)
    problems: list[Problem] = []
    payloads: dict[Which, tuple[Payload, ...]] = {}
    for side in sides:
        found = list(_payloads(release, side, whole, progress))
        problems += [each.problem for each in found if each.problem]
        payloads[side] = tuple(each.payload for each in found if each.payload)
    if problems:
        raise complaint(str(release.path), problems)
    if which is Which.CANDIDATE and release.candidate.image:
        _two_images(release)
    return Prepared(release, which, payloads)


@dataclass(frozen=True, slots=True)
class Pin:
    """What a hash in a release file is, and what it should be.

    Args:
        at: where it stands, or belongs.
        right: of the file that is there.
        payload: the file; None for an image.
        problem: what is wrong, if anything.
    """

    at: Place
    right: str = ""
    payload: Payload | None = None
    problem: Problem | None = None


def pins(release: Release, deadline: Deadline, progress: Progress = SILENT) -> list[Pin]:
    """Every hash of both sides, right or not; what cannot be had is a problem as well."""
    return [pin for which in Which for pin in _payloads(release, which, deadline, progress)]


def _payloads(release: Release, which: Which, deadline: Deadline, progress: Progress) -> Iterator[Pin]:
    side = release.side(which)
    for at, package in enumerate(side.packages):
        yield _of_archive(release, package, (which.value, "packages", at), deadline, progress)
    for at, file in enumerate(side.files):
        yield _of_file(release, file, (which.value, "files", at))
    if side.tarball:
        yield _of_file(release, side.tarball, (which.value, "tarball"))
    if side.image:
        place = (which.value, "image")
        digest = resolve(_image(release, side.image.name), progress=progress).digest
        yield _judged(release, side.image.sha256, digest, place, None)


def _of_archive(release: Release, package: ArchivePackage, at: Place, deadline: Deadline, progress: Progress) -> Pin:
    suite = package.suite or release.side(Which(str(at[0]))).suite or ""
    store = paths.cache() / "releases" / "packages"
    store.mkdir(parents=True, exist_ok=True)
    kept = store / f"{package.sha256}.deb"
    if not package.sha256 or not kept.is_file() or sha256_of(kept) != package.sha256:
        try:
            with (
                FileLock(store / ".lock", timeout=deadline.seconds),
                progress.step(f"{package.name} {package.version} from {suite}"),
                TemporaryDirectory(dir=store) as folder,
            ):
                fetched = Archive(suite).fetch(package.name, package.version, Path(folder), deadline)
                kept = fetched.replace(store / f"{sha256_of(fetched)}.deb")
        except NotThere as error:
            return Pin((*at, "sha256"), problem=problem(release.tree, (*at, "version"), str(error)))
    word = (package.name, package.version)
    name = file_name(Path(f"{package.name}_{package.version}.deb"))
    return _judged(release, package.sha256, sha256_of(kept), at, Payload(kept, "", word, name))


def _of_file(release: Release, file: PackageFile | Tarball, at: Place) -> Pin:
    path = release.path.parent / file.path.expanduser()
    if not path.is_file():
        return Pin((*at, "sha256"), problem=problem(release.tree, (*at, "path"), f"{path} is not there, or not a file"))
    return _judged(release, file.sha256, sha256_of(path), at, Payload(path, "", None, file_name(path)))


def _judged(release: Release, said: str | None, right: str, at: Place, payload: Payload | None) -> Pin:
    """Hold a pin against what is there."""
    place = (*at, "sha256")
    if payload:
        payload = Payload(payload.path, right, payload.package, payload.name)
    if said == right:
        return Pin(place, right, payload)
    text = f"is not the hash of what is there; if that is what you mean, write sha256: {right}"
    if said is None:
        text = f"no hash is pinned; if this is what you mean, write sha256: {right}"
    return Pin(place, right, payload, problem(release.tree, place, text))


def _image(release: Release, name: str) -> str:
    """A file beside the release file, else what ``--image`` makes of it."""
    beside = release.path.parent / name
    return str(beside) if "/" in name and beside.is_file() else name


def image_of(prepared: Prepared) -> str | None:
    """What ``--image`` would be told for this side; None where it is installed in guests of the run's image."""
    return _image(prepared.release, prepared.image) if prepared.image else None


def _two_images(release: Release) -> None:
    one, other = release.baseline.image, release.candidate.image
    if one and other and one.sha256 == other.sha256:
        at = ("candidate", "image", "sha256")
        raise complaint(str(release.path), [problem(release.tree, at, "this is the baseline's image: nothing changes")])
