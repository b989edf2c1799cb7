"""An entry of the store on disk: a folder with the disk files and a ``manifest.json`` that describes them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from harness.core import LabError, Size
from harness.core.config import StrictModel
from harness.image.model import Access, Format, Image, SeedNetwork

FILE = "manifest.json"


class Manifest(StrictModel):
    """What stands in ``manifest.json``. File names are relative to the folder, so that a store can be moved."""

    version: int = 1
    name: str
    recipe: str
    digest: str
    virtual_size: int
    files: dict[Format, str]
    created: datetime
    build_id: str | None = None
    access: Access = Access.CLOUD_INIT
    network: SeedNetwork = SeedNetwork.SEED
    user: str = "root"
    private_key: Path | None = None
    kernel: str | None = None
    initrd: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    file_systems: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored image: the image, and how it came about.

    Args:
        image: what the rest of the harness uses.
        recipe: digest of the recipe it was made from.
        created: when, in UTC.
        folder: where it lies.
        packages: versions of the packages inside, by name; empty for images made elsewhere.
        stage: digest of the installed tree it was made from.
    """

    image: Image
    recipe: str
    created: datetime
    folder: Path
    packages: dict[str, str] = field(default_factory=dict)
    stage: str | None = None

    @property
    def size(self) -> Size:
        """Bytes on this machine's disk, all formats."""
        return Size(sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file()))


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into ``folder``, whole or not at all."""
    temporary = folder / f".{FILE}.new"
    temporary.write_text(manifest.model_dump_json(indent=2) + "\n")
    temporary.replace(folder / FILE)


def read(folder: Path) -> Entry:
    """The entry in ``folder``.

    Raises:
        LabError: there is no manifest, it cannot be understood, or a file it names is gone.
    """
    hint = "remove it with `interop image prune`; it is only cache"
    try:
        manifest = Manifest.model_validate_json((folder / FILE).read_text())
    except (OSError, ValidationError) as error:
        raise LabError(f"{folder} is not a whole image entry: {error}", operation="image", hint=hint) from error
    gone = [name for name in manifest.files.values() if not (folder / name).is_file()]
    if gone:
        raise LabError(f"{folder} lacks {', '.join(gone)}", operation="image", hint=hint)
    return Entry(
        image=_image(folder, manifest),
        recipe=manifest.recipe,
        created=manifest.created,
        folder=folder,
        packages=manifest.packages,
        stage=manifest.stage,
    )


def manifest_of(image: Image, recipe: str, packages: dict[str, str], stage: str | None) -> Manifest:
    """The manifest for an image whose files all lie in one folder."""
    return Manifest(
        name=image.name,
        recipe=recipe,
        digest=image.digest,
        virtual_size=int(image.virtual_size),
        files={form: path.name for form, path in image.files.items()},
        created=datetime.now(UTC),
        build_id=image.build_id,
        access=image.access,
        network=image.network,
        user=image.user,
        private_key=image.private_key,
        kernel=image.kernel.name if image.kernel else None,
        initrd=image.initrd.name if image.initrd else None,
        labels=image.labels,
        file_systems=image.file_systems,
        packages=packages,
        stage=stage,
    )


def as_tree(entry: Entry) -> dict[str, Any]:
    """The entry as plain values with absolute paths, for ``interop image show --json``."""
    tree: dict[str, Any] = json.loads((entry.folder / FILE).read_text())
    tree["files"] = {form.value: str(path) for form, path in entry.image.files.items()}
    tree |= {key: str(getattr(entry.image, key)) for key in ("kernel", "initrd") if getattr(entry.image, key)}
    return tree | {"folder": str(entry.folder)}


def _image(folder: Path, manifest: Manifest) -> Image:
    return Image(
        name=manifest.name,
        digest=manifest.digest,
        files={form: folder / name for form, name in manifest.files.items()},
        virtual_size=Size(manifest.virtual_size),
        build_id=manifest.build_id,
        access=manifest.access,
        network=manifest.network,
        user=manifest.user,
        private_key=manifest.private_key,
        kernel=folder / manifest.kernel if manifest.kernel else None,
        initrd=folder / manifest.initrd if manifest.initrd else None,
        labels=manifest.labels,
        file_systems=manifest.file_systems,
    )
