"""What an image is made of: the YAML under ``configs/images``, as a strict model, and its digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from harness.core import Size, UsageError
from harness.core import config as configuration
from harness.core.config import StrictModel
from harness.core.paths import configs
from harness.core.secrets import without_password
from harness.image.model import Access, SeedNetwork

BUILDER = 1
"""Version of the build steps. Raise it when the same recipe gives another image, so that stores build anew."""
IMPORTER = 2
"""The same of what brings images in that were made elsewhere."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in Path(path).parts:
        raise ValueError("must be an absolute path inside the guest, without '..'")
    return path


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text.lower()):
        raise ValueError("must be a sha256 in hex, 64 digits")
    return text.lower()


GuestPath = Annotated[str, AfterValidator(_absolute)]
Sha256 = Annotated[str, AfterValidator(_sha256)]


def _bytes(text: str | int) -> int:
    return int(Size.parse(text))


SizeText = Annotated[int, BeforeValidator(_bytes)]


class GuestFile(StrictModel):
    """A file put into the image."""

    path: GuestPath
    """Where it goes; ``{0..7}`` in it makes one file a number."""
    content: str = ""
    """Its text."""
    mode: str = Field(default="0644", pattern="^0[0-7]{3,4}$")
    """Its permissions, octal as text."""
    early: bool = False
    """Put in place before packages are configured: what shapes the initramfs must be."""

    def paths(self) -> list[str]:
        """The path, or all that its ``{a..b}`` stands for."""
        found = _RANGE.search(self.path)
        if not found:
            return [self.path]
        return [
            self.path[: found.start()] + str(number) + self.path[found.end() :]
            for number in range(int(found[1]), int(found[2]) + 1)
        ]


class Debian(StrictModel):
    """A Debian root file system, built by ``mmdebstrap`` from the mirror this machine itself uses."""

    suite: str
    """The release's code name."""
    packages: list[str]
    """What is installed besides Debian's required packages; nothing that is merely recommended."""
    leave_out: list[str] = Field(default_factory=list)
    """Path patterns that dpkg does not unpack (documentation, translations)."""
    kernel_arguments: str
    """The kernel command line after ``root=``."""
    files: list[GuestFile] = Field(default_factory=list)
    """Files added last."""
    default_target: str | None = None
    """The systemd target to boot into, where it is not the distribution's."""
    enable: dict[str, list[str]] = Field(default_factory=dict)
    """systemd units to start: target -> units."""
    disable: list[str] = Field(default_factory=list)
    """systemd units that their packages would start and we do not."""
    mask: list[str] = Field(default_factory=list)
    """systemd units that must not start for any reason."""
    remove: list[str] = Field(default_factory=list)
    """Path patterns removed after installation (host keys, package lists)."""
    disk: SizeText = 6 << 30
    """Size of the disk as a guest sees it; unused space costs nothing."""


class SourceFile(StrictModel):
    """A disk image somebody else made."""

    path: Path | None = None
    """A file on this machine; relative to the recipe."""
    url: str | None = Field(default=None, pattern="^(https?|file)://")
    """Where to download it; proxies and certificate authorities of the environment apply."""
    sha256: Sha256
    """Of the file as it is delivered."""

    @field_validator("url")
    @classmethod
    def _shown_everywhere(cls, value: str | None) -> str | None:
        return without_password(value) if value else value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("needs exactly one of `path` and `url`")
        return self


Hypervisor = Literal["kvm", "hyperv", "vsphere"]


class Recipe(StrictModel):
    """An image: built here (``debian``), or made elsewhere (``source`` or ``sources``)."""

    summary: str
    """One line for lists."""
    debian: Debian | None = None
    """Build it."""
    source: SourceFile | None = None
    """One file for all hypervisors."""
    sources: dict[Hypervisor, SourceFile] | None = None
    """One file a hypervisor: same release, different bits. ``kvm`` must be among them."""
    access: Access = Access.CLOUD_INIT
    """How the harness gets in: ``cloud-init`` (the seed brings keys) or ``ready`` (they are in the image)."""
    network: SeedNetwork = SeedNetwork.SEED
    """Where a guest's address comes from."""
    user: str = "root"
    """The account to log in as; other than root, it needs sudo without a password."""
    private_key: Path | None = None
    """For ``ready``: the key file; relative to the recipe."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if sum(part is not None for part in (self.debian, self.source, self.sources)) != 1:
            raise ValueError("needs exactly one of `debian`, `source` and `sources`")
        if self.sources is not None and "kvm" not in self.sources:
            raise ValueError("`sources` needs `kvm`: the image is named after that file's content")
        if (self.access is Access.READY) != (self.private_key is not None):
            raise ValueError("`access: ready` needs `private_key`, and only it does")
        return self


class DebianChanges(StrictModel):
    """What another Debian recipe's root file system is changed by: lists are added to, single values replaced."""

    suite: str | None = None
    """Another release."""
    packages: list[str] = Field(default_factory=list)
    """Installed besides."""
    leave_out: list[str] = Field(default_factory=list)
    """Further path patterns that dpkg does not unpack."""
    kernel_arguments: str | None = None
    """Another kernel command line after ``root=``."""
    files: list[GuestFile] = Field(default_factory=list)
    """Further files; one with the path of the other recipe's takes its place."""
    default_target: str | None = None
    """Another systemd target to boot into."""
    enable: dict[str, list[str]] = Field(default_factory=dict)
    """Further systemd units to start: target -> units."""
    disable: list[str] = Field(default_factory=list)
    """Further systemd units that their packages would start and we do not."""
    mask: list[str] = Field(default_factory=list)
    """Further systemd units that must not start for any reason."""
    remove: list[str] = Field(default_factory=list)
    """Further path patterns removed after installation."""
    disk: SizeText | None = None
    """Another size of the disk."""

    def applied_to(self, base: Debian) -> Debian:
        """The root file system of ``base`` with these changes."""
        replaced = {item.path for item in self.files}
        targets = [*base.enable, *(target for target in self.enable if target not in base.enable)]
        changed: dict[str, Any] = {
            "files": [*(item for item in base.files if item.path not in replaced), *self.files],
            "enable": {each: [*base.enable.get(each, ()), *self.enable.get(each, ())] for each in targets},
        }
        for name in ("packages", "leave_out", "disable", "mask", "remove"):
            changed[name] = list(dict.fromkeys([*getattr(base, name), *getattr(self, name)]))
        for name in ("suite", "kernel_arguments", "default_target", "disk"):
            if getattr(self, name) is not None:
                changed[name] = getattr(self, name)
        return base.model_copy(update=changed)


class DerivedRecipe(StrictModel):
    """An image built like another one, but for what is said here."""

    summary: str
    """One line for lists."""
    like: str
    """The other recipe, one with ``debian``: a shipped one's name, or a file, relative to this one."""
    debian: DebianChanges = Field(default_factory=DebianChanges)
    """What differs."""


class NamedRecipe(StrictModel):
    """A recipe with the name and place it was read from."""

    name: str
    recipe: Recipe
    folder: Path
    """What relative paths in the recipe start from."""

    @property
    def digest(self) -> str:
        """What the recipe and the builder's version come to: the same digest, the same build."""
        steps = BUILDER if self.recipe.debian else IMPORTER
        return digest_of({"builder": steps, "name": self.name, **self.recipe.model_dump(mode="json")})


def digest_of(tree: Mapping[str, Any]) -> str:
    """sha256 of a tree of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def known() -> dict[str, Path]:
    """The recipes that ship with the product, by name."""
    return {path.stem: path for path in sorted((configs() / "images").glob("*.yaml"))}


def load(name_or_path: str | Path) -> NamedRecipe:
    """A shipped recipe by its name, or any by its file.

    Raises:
        UsageError: no such recipe (the nearest name is suggested), or the file is wrong (file, line and column).
    """
    text = str(name_or_path)
    recipes = known()
    path = recipes.get(text) or Path(text)
    if text not in recipes and not (path.is_file() or "/" in text or path.suffix in (".yaml", ".yml")):
        raise UsageError(f"no image recipe is called {text!r}{configuration.nearest(text, sorted(recipes))}")
    return NamedRecipe(name=path.stem, recipe=_read(path), folder=path.resolve().parent)


def _read(path: Path) -> Recipe:
    tree = configuration.read_yaml(path)
    if not (isinstance(tree, dict) and "like" in tree):
        return configuration.validate(tree, Recipe, str(path))
    derived = configuration.validate(tree, DerivedRecipe, str(path))
    base = _base_of(derived, path, tree)
    assert base.debian is not None
    return base.model_copy(update={"summary": derived.summary, "debian": derived.debian.applied_to(base.debian)})


def _base_of(derived: DerivedRecipe, path: Path, tree: Any) -> Recipe:
    recipes = known()
    other = recipes.get(derived.like) or path.parent / derived.like
    if not other.is_file():
        wrong = f"no image recipe is called {derived.like!r}{configuration.nearest(derived.like, sorted(recipes))}"
    else:
        below = configuration.read_yaml(other)
        if isinstance(below, dict) and "debian" in below and "like" not in below:
            return configuration.validate(below, Recipe, str(other))
        # One step only: who reads a recipe has at most one other to look at, and none can go in circles.
        wrong = f"{derived.like!r} does not say itself what is installed (`debian`, without `like`)"
    raise configuration.complaint(str(path), [configuration.problem(tree, ("like",), wrong)])
