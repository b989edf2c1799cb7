"""The images on this machine: one folder an image, named after the recipe's digest, complete or not there at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from harness.core import Deadline, LabError, UsageError
from harness.core.config import nearest
from harness.core.paths import cache
from harness.image import builder, content, manifest, qemuimg, rootfs, source
from harness.image.manifest import Entry
from harness.image.model import Format, Image
from harness.image.progress import SILENT, Job, Progress
from harness.image.recipe import NamedRecipe
from harness.image.tools import space_for

BUILD_TIME = timedelta(minutes=30)
"""Ample for a build on two slow cores and a slow mirror."""
MIN_DIGEST = 6
"""Fewest hex digits that are taken for a digest."""


class Store:
    """The images below ``root`` (default: ``images`` in the cache folder).

    Work goes on in ``tmp/`` and is renamed into place when it is whole. Each recipe has a lock, so that of two builders
    one waits and then finds the work done; a killed builder's leavings are swept by whoever holds that lock next.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache() / "images"
        for folder in (self._store, self._stages, self._tmp, self._locks):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def _store(self) -> Path:
        return self.root / "store"

    @property
    def _stages(self) -> Path:
        return self.root / "stages"

    @property
    def _tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def _locks(self) -> Path:
        return self.root / "locks"

    def entries(self) -> list[Entry]:
        """All whole entries, newest first; a damaged one is left out (:meth:`prune` removes it)."""
        entries = [self._whole(folder.name) for folder in self._store.iterdir()]
        return sorted((entry for entry in entries if entry), key=lambda entry: entry.created, reverse=True)

    def find(self, digest_prefix_or_name: str) -> Entry:
        """The entry with that name (the newest one), or whose image or recipe digest begins so.

        Raises:
            UsageError: none, or several images fit.
        """
        word = digest_prefix_or_name.lower()
        entries = self.entries()
        for entry in entries:
            if entry.image.name == digest_prefix_or_name:
                return entry
        if len(word) >= MIN_DIGEST:
            found = [entry for entry in entries if entry.image.digest.startswith(word) or entry.recipe.startswith(word)]
            if len({entry.image.digest for entry in found}) == 1:
                return found[0]
            if found:
                raise UsageError(f"{word!r} is the beginning of {len(found)} images: give more digits")
        names = sorted({entry.image.name for entry in entries})
        raise UsageError(
            f"no image {digest_prefix_or_name!r} in {self.root}{nearest(digest_prefix_or_name, names)}",
            hint="`interop image list` shows what is there, `interop image build` makes more",
        )

    def built(self, recipe: NamedRecipe) -> Entry | None:
        """The entry made from exactly this recipe, if there is one."""
        return self._whole(recipe.digest)

    def build(
        self,
        recipe: NamedRecipe,
        deadline: Deadline | None = None,
        progress: Progress = SILENT,
        *,
        refresh: bool = False,
    ) -> Entry:
        """Build the recipe, or return what was built of it before.

        Args:
            recipe: what to build.
            deadline: when to give up; default :data:`BUILD_TIME` from now.
            progress: told each step.
            refresh: install the packages anew, from today's mirror, even where they are at hand.

        Raises:
            LabError: a tool failed, the mirror is out of reach, no space is left. Nothing half-made stays.
        """
        until = deadline or Deadline.after(BUILD_TIME)
        digest = recipe.digest
        with self._locked(digest, until):
            found = self._whole(digest)
            if found and not refresh:
                return found
            with self._workplace(digest) as work, space_for("building an image", self.root, builder.BUILD_SPACE):
                done = self._made(recipe, Job(work, until, progress), refresh=refresh)
                shutil.rmtree(work / "scratch", ignore_errors=True)
                manifest.write(work, manifest.manifest_of(done.image, digest, done.packages, done.stage))
                self._settle(work, digest)
        return manifest.read(self._store / digest)

    def keep(
        self, digest: str, make: Callable[[Job], Image], deadline: Deadline | None = None, progress: Progress = SILENT
    ) -> Entry:
        """The entry ``digest``: as it is, or made now by ``make``, which leaves all files in its job's folder.

        Raises:
            LabError: making it failed. Nothing half-made stays.
        """
        until = deadline or Deadline.after(BUILD_TIME)
        with self._locked(digest, until):
            found = self._whole(digest)
            if found:
                return found
            with self._workplace(digest) as work, space_for("making an image", self.root, builder.BUILD_SPACE):
                image = make(Job(work, until, progress))
                shutil.rmtree(work / "scratch", ignore_errors=True)
                manifest.write(work, manifest.manifest_of(image, digest, {}, None))
                self._settle(work, digest)
        return manifest.read(self._store / digest)

    def convert(
        self, image: Image, form: Format, deadline: Deadline | None = None, progress: Progress = SILENT
    ) -> Image:
        """The image with ``form`` among its files: converted now, or before.

        Raises:
            LabError: the conversion failed; or the image is not of this store.
        """
        until = deadline or Deadline.after(BUILD_TIME)
        folder = image.qcow2.parent
        entry = manifest.read(folder)
        if form in entry.image.files:
            return entry.image
        needed = qemuimg.info(image.qcow2, until).virtual_size
        with self._locked(entry.recipe, until):
            entry = manifest.read(folder)
            self._clear(folder)
            if form not in entry.image.files:
                target = folder / f"disk.{form.value}"
                temporary = folder / f".new-{os.getpid()}.{form.value}"
                try:
                    with space_for(f"converting to {form.value}", folder, min(needed, entry.size)):
                        qemuimg.convert(image.qcow2, temporary, form, until, source_format="qcow2", progress=progress)
                    temporary.replace(target)
                finally:
                    temporary.unlink(missing_ok=True)
                self._add_file(folder, form, target.name)
        return manifest.read(folder).image

    def verify(self, image: Image, deadline: Deadline | None = None, progress: Progress = SILENT) -> list[str]:
        """Prove that the image is what its digest says, and that every format at hand holds the same disk.

        Returns:
            What was proven, a sentence each.

        Raises:
            LabError: the first thing that is not so; or another process verified this image all the time.
        """
        until = deadline or Deadline.after(BUILD_TIME)
        proven = []
        name = f"verify-{image.digest}"
        with (
            self._locked(name, until),
            self._workplace(name) as work,
            space_for("verifying an image", self.root, builder.BUILD_SPACE),
        ):
            raw = work / "disk.raw"
            qemuimg.convert(image.qcow2, raw, None, until, source_format="qcow2", progress=progress, what="unpacking")
            seen = content.digest_of_raw(raw, progress)
            if seen != image.digest:
                raise LabError(
                    f"{image.qcow2} holds a disk with sha256 {seen}, its name says {image.digest}",
                    operation="image verify",
                    hint="the file was changed after it was built: `interop image prune`, then build anew",
                )
            proven.append(f"qcow2: sha256 of the disk is {seen}")
            same = image.labels.get("bits") is None
            for form, path in image.files.items():
                if form is not Format.QCOW2 and same:
                    qemuimg.compare((raw, "raw"), (path, form.value), until, progress=progress)
                    proven.append(f"{form.value}: qemu-img compare finds the same disk as qcow2")
                elif form is not Format.QCOW2:
                    qemuimg.info(path, until)
                    proven.append(f"{form.value}: {image.labels['bits']}; readable")
        return proven

    def prune(self, keep: set[str] | None = None, *, everything: bool = False) -> list[Path]:
        """Remove damaged entries, leavings of killed builders, variants, and all but the newest entry of each name.

        Not while tests run on an image: a guest's disk is an overlay over it.

        Args:
            keep: recipe digests to keep besides.
            everything: remove every entry and stage.

        Returns:
            What was removed.
        """
        newest = {entry.image.name: entry for entry in reversed(self.entries()) if "variant" not in entry.image.labels}
        kept = set() if everything else {entry.recipe for entry in newest.values()} | (keep or set())
        stages = {entry.stage for entry in self.entries() if entry.recipe in kept}
        # Each with the name of the lock that whoever works on it holds.
        doomed = [(folder, folder.name) for folder in self._store.iterdir() if folder.name not in kept]
        doomed += [(tar, f"stage-{tar.stem}") for tar in self._stages.iterdir() if tar.stem not in stages]
        doomed += [(work, work.name.split(".")[0]) for work in self._tmp.iterdir()]
        return [path for path, lock in doomed if self._try_remove(path, lock)]

    def sweep(self, *, touch: bool = True) -> list[Path]:
        """Remove what killed builders and converters left half made; what somebody works on stays.

        Args:
            touch: False: only look.

        Returns:
            What was removed, or would be.
        """
        found = [(path, path.name.split(".")[0]) for path in sorted(self._tmp.iterdir())]
        for folder in sorted(self._store.iterdir()):
            found += [(path, folder.name) for path in _half_made(folder)]
        return [path for path, lock in found if (self._try_remove(path, lock) if touch else self._idle(lock))]

    @staticmethod
    def _clear(folder: Path) -> None:
        """The caller holds the lock of this entry: whoever left something half made in it is dead."""
        for path in _half_made(folder):
            path.unlink(missing_ok=True)

    def _idle(self, lock: str) -> bool:
        try:
            with FileLock(self._locks / f"{lock}.lock", timeout=0):
                return True
        except Timeout:
            return False

    def _made(self, recipe: NamedRecipe, job: Job, *, refresh: bool) -> builder.Built:
        if recipe.recipe.debian is None:
            return source.import_image(recipe, job)

        def stage() -> Path:
            return self._stage(recipe, job.deadline, job.progress, refresh=refresh)

        return builder.build_debian(recipe, stage, job)

    def _stage(self, recipe: NamedRecipe, deadline: Deadline, progress: Progress, *, refresh: bool) -> Path:
        debian = recipe.recipe.debian
        assert debian is not None
        digest = rootfs.stage_digest(debian)
        target = self._stages / f"{digest}.tar"
        with self._locked(f"stage-{digest}", deadline):
            if target.exists() and not refresh:
                return target
            with (
                self._workplace(f"stage-{digest}") as work,
                progress.step(f"installing Debian {debian.suite}") as advance,
            ):
                rootfs.make_tree_tar(debian, work, deadline, advance).replace(target)
        return target

    def _whole(self, digest: str) -> Entry | None:
        folder = self._store / digest
        if not folder.is_dir():
            return None
        try:
            return manifest.read(folder)
        except LabError:
            return None

    def _settle(self, work: Path, digest: str) -> None:
        target = self._store / digest
        if target.exists():  # a damaged or refreshed entry makes room; a guest that runs on it keeps its open file
            old = self._tmp / f"{digest}.old-{os.getpid()}"
            target.rename(old)
            work.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.rename(target)

    def _add_file(self, folder: Path, form: Format, name: str) -> None:
        current = manifest.Manifest.model_validate_json((folder / manifest.FILE).read_text())
        manifest.write(folder, current.model_copy(update={"files": {**current.files, form: name}}))

    @contextmanager
    def _locked(self, name: str, deadline: Deadline) -> Iterator[None]:
        try:
            with FileLock(self._locks / f"{name}.lock", timeout=deadline.seconds):
                yield
        except Timeout as error:
            raise LabError(
                f"another process has been working on {name[:16]} all the time", operation="image"
            ) from error

    @contextmanager
    def _workplace(self, name: str) -> Iterator[Path]:
        """A fresh folder, gone afterwards unless it was renamed. The caller holds the lock ``name``."""
        for leftover in self._tmp.glob(f"{name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self._tmp))
        work.chmod(0o755)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _try_remove(self, path: Path, lock: str) -> bool:
        """Remove something nobody is working on; False when somebody is."""
        try:
            with FileLock(self._locks / f"{lock}.lock", timeout=0):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
                return True
        except Timeout:
            return False


def _half_made(folder: Path) -> list[Path]:
    """Of an entry: disks that were being converted, and a manifest that was being written."""
    return sorted({*folder.glob(".new-*"), *folder.glob(f".{manifest.FILE}.new")})
