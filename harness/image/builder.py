"""From a recipe to an image in a working folder. The store decides where that folder ends up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.core import Size
from harness.image import content, disk, overlay, qemuimg, rootfs
from harness.image.model import Format, Image
from harness.image.progress import Job
from harness.image.recipe import NamedRecipe, digest_of

BUILD_SPACE = Size.parse("5 GiB")
"""At the peak of a build: the tree, its tar, the raw disk and the qcow2."""


@dataclass(frozen=True, slots=True)
class Built:
    """A built image, all of its files in the working folder."""

    image: Image
    packages: dict[str, str]
    stage: str | None


def build_debian(named: NamedRecipe, stage_tar: Callable[[], Path], job: Job) -> Built:
    """Build a ``debian`` recipe.

    Args:
        named: the recipe.
        stage_tar: gives the tar of the installed tree, from cache or made now.
        job: the image's files are left in its folder, and a folder ``scratch`` that may go.

    Raises:
        LabError: a tool is missing or failed.
    """
    debian = named.recipe.debian
    if debian is None:
        raise ValueError(f"{named.name} is not a debian recipe")
    work, deadline, progress = job.work, job.deadline, job.progress
    tree = stage_tar()
    with progress.step("reading the installed tree"):
        contents = rootfs.read_contents(tree)
        # Named after the very bits that went in: a tree installed on another day has another id.
        build_id = digest_of({"tree": content.digest_of_file(tree), "recipe": named.digest})[:32]
    layout = disk.Layout(build_id)
    scratch = work / "scratch"
    scratch.mkdir()
    late = scratch / "late.tar"
    boot = disk.boot_files(layout, contents.kernel, contents.initrd, debian.kernel_arguments)
    overlay.write_late(debian, late, rootfs.EPOCH, build_id, boot)
    raw = disk.make_disk(
        [(tree, overlay.removed(debian)), (late, [])], layout, Size(debian.disk), Job(scratch, deadline, progress)
    )
    kernel, initrd = work / "vmlinuz", work / "initrd.img"
    rootfs.extract(tree, contents.kernel, kernel)
    rootfs.extract(tree, contents.initrd, initrd)
    digest = content.digest_of_raw(raw, progress)
    qcow2 = work / "disk.qcow2"
    qemuimg.convert(raw, qcow2, Format.QCOW2, deadline, source_format="raw", progress=progress)
    image = Image(
        name=named.name,
        digest=digest,
        files={Format.QCOW2: qcow2},
        virtual_size=Size(debian.disk),
        build_id=build_id,
        access=named.recipe.access,
        network=named.recipe.network,
        user=named.recipe.user,
        kernel=kernel,
        initrd=initrd,
        labels={"distribution": f"Debian {debian.suite}", "kernel": contents.release},
    )
    return Built(image, contents.packages, rootfs.stage_digest(debian))
