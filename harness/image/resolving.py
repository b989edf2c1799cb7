"""From what a user writes after ``--image`` to an image: a recipe's name, a file, or a digest."""

from __future__ import annotations

import re
from pathlib import Path

from harness.core import Deadline, UsageError
from harness.image import recipe as recipes
from harness.image.model import Image
from harness.image.progress import SILENT, Progress
from harness.image.recipe import NamedRecipe, Recipe, SourceFile
from harness.image.source import sha256_of
from harness.image.store import MIN_DIGEST, Store

_DISKS = (".qcow2", ".vhdx", ".vmdk", ".raw", ".img", ".vhd", ".vdi")


def resolve(
    name_or_path: str,
    *,
    progress: Progress = SILENT,
    deadline: Deadline | None = None,
    store: Store | None = None,
) -> Image:
    """The image that ``name_or_path`` means; built or imported when it is not there yet.

    Args:
        name_or_path: the name of a shipped recipe, a recipe file (``.yaml``), a disk file (taken as a cloud image that
            reads a NoCloud seed), or the first digits of an image's or a recipe's digest.
        progress: told each step.
        deadline: when to give up building.
        store: where images are kept; default: the user's cache.

    Raises:
        UsageError: nothing is called so; the nearest name is suggested.
        LabError: building it failed.
    """
    kept = store or Store()
    if re.fullmatch(rf"[0-9a-fA-F]{{{MIN_DIGEST},64}}", name_or_path) and name_or_path not in recipes.known():
        return kept.find(name_or_path).image
    return kept.build(named(name_or_path), deadline, progress).image


def named(name_or_path: str) -> NamedRecipe:
    """The recipe that a name, a recipe file or a disk file stands for.

    Raises:
        UsageError: nothing is called so, or the recipe is wrong.
    """
    path = Path(name_or_path)
    if path.suffix not in _DISKS:
        return recipes.load(name_or_path)
    if not path.is_file():
        raise UsageError(f"{path} is not there, or not a file")
    source = SourceFile(path=path.resolve(), sha256=sha256_of(path))
    return NamedRecipe(name=path.stem, recipe=Recipe(summary=f"the disk {path}", source=source), folder=Path.cwd())
