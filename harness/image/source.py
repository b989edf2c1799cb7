"""A lab's own image: fetched or copied, checked against its hash, brought into the store's shape."""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from harness.core import Deadline, LabError, Size, UsageError
from harness.image import content, qemuimg
from harness.image.builder import Built
from harness.image.filesystems import file_systems
from harness.image.model import Format, Image
from harness.image.progress import Job, Progress
from harness.image.recipe import NamedRecipe, SourceFile
from harness.image.tools import space_for

_FORMAT_OF = {"kvm": Format.QCOW2, "hyperv": Format.VHDX, "vsphere": Format.VMDK}
_BLOCK = 1 << 20
_READABLE = ("qcow2", "raw", "vhdx", "vmdk", "vpc", "vdi")
DIFFERENT_BITS = "same release, different bits"


def import_image(named: NamedRecipe, job: Job) -> Built:
    """Bring a ``source`` or ``sources`` recipe's files into the job's folder.

    Raises:
        UsageError: a file is not there, has another hash, or is no disk.
        LabError: a download failed, or a conversion.
    """
    work, deadline, progress = job.work, job.deadline, job.progress
    recipe = named.recipe
    given = {"kvm": recipe.source} if recipe.source else dict(recipe.sources or {})
    scratch = work / "scratch"
    scratch.mkdir()
    files: dict[Format, Path] = {}
    for hypervisor, one in given.items():
        if one is not None:
            form = _FORMAT_OF[hypervisor]
            files[form] = _bring(one, form, named.folder, job)
    raw = scratch / "disk.raw"
    virtual = qemuimg.info(files[Format.QCOW2], deadline).virtual_size
    known: list[str] = []
    for form in sorted(files, key=lambda form: form is Format.QCOW2):  # that one last: it is hashed, too
        qemuimg.convert(files[form], raw, None, deadline, source_format=form.value, progress=progress, what="unpacking")
        known += file_systems(raw)
    digest = content.digest_of_raw(raw, progress)
    image = Image(
        name=named.name,
        digest=digest,
        files=files,
        virtual_size=virtual,
        access=recipe.access,
        network=recipe.network,
        user=recipe.user,
        private_key=(named.folder / recipe.private_key).resolve() if recipe.private_key else None,
        file_systems=tuple(dict.fromkeys(known)),
        labels={"origin": "own image"} | ({"bits": DIFFERENT_BITS} if recipe.sources else {}),
    )
    return Built(image, {}, None)


def _bring(one: SourceFile, form: Format, folder: Path, job: Job) -> Path:
    work, deadline, progress = job.work, job.deadline, job.progress
    fetched = work / "scratch" / f"source.{form.value}"
    if one.url:
        _download(one.url, fetched, deadline, progress)
        shown = one.url
    else:
        origin = (folder / (one.path or "")).resolve()
        shown = str(origin)
        _copy(origin, fetched, progress)
    seen = content.digest_of_file(fetched, progress)
    if seen != one.sha256:
        raise UsageError(
            f"{shown} has sha256 {seen}, the recipe says {one.sha256}",
            operation="image build",
            hint="the file is not the one the recipe was written for: fetch it anew, or correct sha256",
        )
    try:
        info = qemuimg.info(fetched, deadline)
    except LabError as error:
        raise UsageError(f"{shown} is damaged or truncated: {error.message}", operation="image build") from error
    if info.format not in _READABLE or (info.format == "raw" and not _looks_like_disk(fetched)):
        raise UsageError(f"{shown} is no disk image (qemu-img sees {info.format})", operation="image build")
    if info.backing:
        raise UsageError(f"{shown} needs the backing file {info.backing}: give a whole image", operation="image build")
    target = work / f"disk.{form.value}"
    if info.format == form.value:
        _check(fetched, info.format, shown, deadline)
        fetched.replace(target)
    else:
        qemuimg.convert(fetched, target, form, deadline, source_format=info.format, progress=progress)
    return target


def _check(path: Path, form: str, shown: str, deadline: Deadline) -> None:
    """A truncated file has a sound header and clusters beyond its end."""
    try:
        qemuimg.check(path, form, deadline)
    except LabError as error:
        raise UsageError(f"{shown} is damaged or truncated: {error.message}", operation="image build") from error


def _looks_like_disk(path: Path) -> bool:
    """A raw disk that can boot starts with a boot sector: anything else (a web page, an archive) is a mistake."""
    with path.open("rb") as raw:
        return raw.read(512)[510:512] == b"\x55\xaa"


def _copy(origin: Path, target: Path, progress: Progress) -> None:
    if not origin.is_file():
        raise UsageError(f"{origin} is not there, or not a file", operation="image build")
    total = origin.stat().st_size or 1
    with (
        space_for(f"copying {origin.name}", target.parent, Size(total)),
        progress.step(f"copying {origin.name}") as advance,
        origin.open("rb") as source,
        target.open("wb") as out,
    ):
        done = 0
        while chunk := source.read(_BLOCK):
            out.write(chunk)
            done += len(chunk)
            advance(done / total)
    shutil.copystat(origin, target)


def _download(url: str, target: Path, deadline: Deadline, progress: Progress) -> None:
    """``urllib`` honours ``http_proxy``, ``https_proxy``, ``no_proxy`` and ``SSL_CERT_FILE`` of the environment."""
    try:
        with (
            urllib.request.urlopen(url, timeout=min(60.0, deadline.seconds)) as answer,  # noqa: S310 (scheme checked by the recipe)
            progress.step(f"downloading {target.name}") as advance,
            target.open("wb") as out,
        ):
            total = int(answer.headers.get("Content-Length") or 0)
            with space_for(f"downloading {url}", target.parent, Size(total)):
                done = 0
                while chunk := answer.read(_BLOCK):
                    out.write(chunk)
                    done += len(chunk)
                    advance(done / total if total else 0.0)
                    if deadline.expired:
                        raise LabError(f"{url} did not arrive in the time allowed", operation="image build")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise LabError(f"{url} cannot be downloaded: {error}", operation="image build") from error
    if total and done != total:
        raise LabError(f"{url} broke off after {done} of {total} bytes", operation="image build", hint="try again")


def sha256_of(path: Path) -> str:
    """sha256 of a file, for recipes made on the fly."""
    with path.open("rb") as held:
        return hashlib.file_digest(held, "sha256").hexdigest()
