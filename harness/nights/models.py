"""Night files (``configs/nights/``): hosts x firmware x images x releases, less what is excluded, within a time."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from harness.backends.model import Firmware
from harness.core.config import StrictModel
from harness.core.fields import Duration
from harness.core.secrets import without_password
from harness.lab.models import Lab

Text = Annotated[str, StringConstraints(min_length=1)]
CARRIED = "none"
"""The word for no release: what the image carries."""
FIELDS = ("pool", "host", "firmware", "image", "release")


class Match(StrictModel):
    """Which cells a rule is about: those that fit all of its patterns. `*` and `?` stand for any letters, or one."""

    pool: Text = "*"
    """The pool."""
    host: Text = "*"
    """The host."""
    firmware: Literal["*", "bios", "uefi"] = "*"
    """The firmware of the guests."""
    image: Text = "*"
    """The image, as `images` has it."""
    release: Text = "*"
    """The release, as `releases` has it."""

    def fits(self, cell: Cell) -> bool:
        """Whether a cell is meant."""
        return all(fnmatch.fnmatchcase(getattr(cell, key), getattr(self, key)) for key in FIELDS)


class Excluded(Match):
    """Cells that are not run."""

    reason: Text
    """Why not: it stands in the report."""

    @model_validator(mode="after")
    def _not_all(self) -> Excluded:
        if all(getattr(self, key) == "*" for key in FIELDS):
            raise ValueError("excludes every cell of the night: say which by pool, host, firmware, image or release")
        return self


class Included(StrictModel):
    """One more cell, outside of the product."""

    host: Text
    """The host, or the pool that one is taken of."""
    firmware: Firmware = Firmware.BIOS
    """The firmware of the guests."""
    image: Text
    """The image."""
    release: Text = CARRIED
    """The release; `none`: what the image carries."""
    reason: Text
    """What for: it stands in the report."""


class Priority(Match):
    """Cells that are run before or after others."""

    priority: int = Field(ge=-100, le=100)
    """Higher ones first; what no rule is about has 0. Where several rules fit, the last counts."""


class NightFile(StrictModel):
    """A night: what is run on a lab, in which order, for how long."""

    lab: Text
    """The lab, by name or file. It needs a `database`."""
    results: Text
    """Where results go: a folder that all workers and you can reach, or the URL of an object store (`s3://bucket/nights`),
    by fsspec. Credentials are the store's own business (environment, profile): none stand here."""

    @field_validator("results")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        # A question mark begins what signs an address: the queue, messages and logs would hold it.
        if "://" in value and "?" in value:
            raise ValueError("what signs an address never stands here: the store finds credentials by itself")
        return without_password(value)

    budget: Duration = timedelta(hours=10)
    """How long the night lasts. What did not begin by then is listed, and goes first next night; what runs then is
    stopped as by Ctrl-C, and keeps what it has."""
    schedule: Text | None = None
    """When it begins, as a cron line in UTC (`0 20 * * 1-5`); left out: when somebody starts it."""
    pools: tuple[Text, ...] = ()
    """The pools of the lab that take part; left out: all."""
    each_host: bool = False
    """Whether each host of a pool runs all of it; else the hosts of a pool share the pool's cells among them."""
    firmware: tuple[Firmware, ...] = (Firmware.BIOS,)
    """The firmware of guests whose test does not ask for one: `bios`, `uefi` (on Hyper-V: generation 1, 2)."""
    images: tuple[Text, ...] = Field(min_length=1)
    """The images, as `--image` takes them."""
    releases: tuple[Text, ...] = (CARRIED,)
    """The releases, as `--release` takes them; `none`: what the image carries."""
    exclude: tuple[Excluded, ...] = ()
    """What of the product is not run, each with its reason."""
    include: tuple[Included, ...] = ()
    """What is run besides."""
    priorities: tuple[Priority, ...] = ()
    """What goes first."""
    suites: tuple[Text, ...] = ("suites",)
    """What pytest is given."""
    markers: str = ""
    """As pytest's `-m`: `not slow`."""
    options: tuple[Text, ...] = ()
    """More options for pytest, a word each."""
    attempts: int = Field(default=2, ge=1, le=5)
    """How often a cell is tried whose run broke, or whose worker died. What a test found is never tried again."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a night: a host, the firmware of its guests, an image, a release."""

    pool: str
    host: str
    firmware: str
    image: str
    release: str

    @property
    def name(self) -> str:
        """For people, and for folders: a path of four parts below which nothing else lies."""
        return "/".join(_part(word) for word in (self.host, self.firmware, self.image, self.release))

    @property
    def page(self) -> str:
        """Cells of one page differ by host alone: its columns."""
        return "/".join(_part(word) for word in (self.firmware, self.image, self.release))


@dataclass(frozen=True, slots=True)
class Night:
    """A night file, read and checked.

    Args:
        name: the file's name without its ending.
        path: the file.
        lab: its lab.
        file: what it says.
    """

    name: str
    path: Path
    lab: Lab
    file: NightFile = field(repr=False)


def _part(word: str) -> str:
    """A word as one part of a path, on every file system and in every object store."""
    plain = "".join(letter if letter.isalnum() or letter in "._-@" else "_" for letter in word.rsplit("/", 1)[-1])
    return plain.strip(".") or "_"


def plain(cell: Cell) -> dict[str, Any]:
    """As JSON."""
    return {key: getattr(cell, key) for key in FIELDS}
