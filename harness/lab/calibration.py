"""A lab's own limits and sizes, each with its reason: a file that the lab keeps, and that ``interop calibrate`` writes.

Its sections stand for pools or hosts of the lab, ``*`` for all of them; a pool's goes before that of all, and a host's
before its pool's. What it does not name is as the product ships it (``configs/expectations``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from harness.core.config import Problem, StrictModel, complaint, nearest, problem, read_yaml, validate
from harness.lab.expectations import Expectations
from harness.lab.limits import Bounds, LimitFile
from harness.lab.models import Lab
from harness.lab.rules import RuleFile, kind_of_size, rules_of

ALL = "*"
"""The section for every host of the lab."""

Reason = Annotated[str, StringConstraints(min_length=3, strip_whitespace=True)]


class OwnLimit(Bounds):
    """A limit of the lab's own. It fails the checks that exceed it, as every calibrated one."""

    reason: Reason
    """Why it is so here."""
    date: Annotated[dt.date, Field(strict=False)] | None = None
    """When it was decided."""
    samples: int | None = Field(default=None, ge=1)
    """How many results it comes from; left out: somebody chose it."""
    nights: int | None = Field(default=None, ge=1)
    """From how many days they are."""
    spread: str | None = None
    """What was seen, in words: the least, the middle half, the most."""
    margin: float | None = None
    """How far beyond the furthest of that the limit stands, in its unit."""

    def in_force(self) -> LimitFile:
        """As checks get it."""
        words = [self.reason]
        words += [f"{self.date}"] if self.date else []
        words += [f"{self.samples} samples"] if self.samples else []
        return LimitFile(at_least=self.at_least, at_most=self.at_most, unit=self.unit, source=", ".join(words))


class OwnSize(StrictModel):
    """How much a check does here."""

    value: int | str
    """A count, ``10 s``, ``1 GiB``."""
    reason: Reason
    """Why it is so here."""


class Section(StrictModel):
    """What is different for a pool or a host."""

    as_shipped: dict[str, Reason] = Field(default_factory=dict)
    """Limits that hold as they ship, though nobody calibrated them: patterns (``C06.*``, ``*``), each with a reason."""
    limits: dict[str, OwnLimit] = Field(default_factory=dict)
    """Limits by their keys (``L02.boot``)."""
    sizes: dict[str, OwnSize] = Field(default_factory=dict)
    """Sizes by their keys (``N02.transfer``)."""


class CalibrationFile(StrictModel):
    """The file."""

    hosts: dict[str, Section] = Field(default_factory=dict)
    """By pool or host; ``*``: all."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a lab says of limits and sizes.

    Args:
        file: where it stands.
        said: what it says.
    """

    file: Path
    said: CalibrationFile

    def amend(self, expect: Expectations, pool: str, host: str) -> Expectations:
        """What a host must show, with the lab's own limits and sizes for it."""
        limits, sizes, varied = dict(expect.limits), dict(expect.sizes), set(expect.varied)
        for name in dict.fromkeys((ALL, pool, host)):
            section = self.said.hosts.get(name, Section())
            for pattern, reason in section.as_shipped.items():
                for key, limit in limits.items():
                    if not limit.calibrated and fnmatchcase(key, pattern):
                        source = f"{limit.source}; holds here: {reason}"
                        limits[key] = limit.model_copy(update={"calibrated": True, "source": source})
            limits |= {key: own.in_force() for key, own in section.limits.items()}
            sizes |= {key: own.value for key, own in section.sizes.items()}
            varied |= section.sizes.keys()
        return replace(expect, limits=limits, sizes=sizes, varied=frozenset(varied))


def load_calibration(path: Path, lab: Lab, *, folder: Path | None = None) -> Calibration:
    """Read a lab's own limits and sizes.

    Args:
        path: the file.
        lab: whose pools and hosts it names.
        folder: where the files of expectations are; None: those that ship.

    Raises:
        UsageError: it cannot be read; or one line ``file:line:column dotted.path: problem`` for everything wrong in it:
            a pool that the lab does not have, a limit that does not exist, another unit than the limit has.
    """
    tree = read_yaml(path)
    if tree is None:
        return Calibration(path, CalibrationFile())
    said = validate(tree, CalibrationFile, str(path))
    problems = [found for name in said.hosts for found in _problems(tree, name, said.hosts[name], lab, folder)]
    if problems:
        raise complaint(str(path), problems)
    return Calibration(path, said)


@dataclass(frozen=True, slots=True)
class _Known:
    """Every limit and size that the files of some backends have, whatever rule it stands in."""

    limits: dict[str, list[LimitFile]]
    sizes: dict[str, list[int | str]]

    @classmethod
    def of(cls, files: list[RuleFile]) -> _Known:
        known = cls({}, {})
        for rule in (rule for file in files for rule in file.rules):
            for key, limit in rule.limits.items():
                known.limits.setdefault(key, []).append(limit)
            for key, size in rule.sizes.items():
                known.sizes.setdefault(key, []).append(size)
        return known

    def of_ours(self, key: str) -> bool:
        """Whether the check (or ``host``, ``guest``) that a key begins with is one of the product's."""
        first = key.partition(".")[0]
        return any(one.partition(".")[0] == first for one in (*self.limits, *self.sizes))


def _problems(tree: Any, name: str, section: Section, lab: Lab, folder: Path | None) -> Iterator[Problem]:
    members = [host for host in lab.hosts.values() if name in (ALL, host.pool, host.name)]
    if not members:
        names = {ALL, *lab.pools(), *lab.hosts}
        yield problem(
            tree, ("hosts", name), f"the lab {lab.name!r} has no pool or host of this name{nearest(name, names)}"
        )
        return
    known = _Known.of([rules_of(backend, folder) for backend in sorted({host.backend for host in members})])
    for pattern in section.as_shipped:
        if not any(fnmatchcase(key, pattern) for key in known.limits):
            yield problem(
                tree,
                ("hosts", name, "as_shipped", pattern),
                f"no limit is called so{nearest(pattern, known.limits, list_known=False)}",
            )
    for key, own in section.limits.items():
        for text in _wrong_limit(key, own, known):
            yield problem(tree, ("hosts", name, "limits", key), text)
    for key, size in section.sizes.items():
        for text in _wrong_size(key, size.value, known):
            yield problem(tree, ("hosts", name, "sizes", key, "value"), text)


def _wrong_limit(key: str, own: OwnLimit, known: _Known) -> Iterator[str]:
    ours = known.limits.get(key)
    if ours is None:
        if known.of_ours(key):  # a check of the lab's own brings its own limits
            yield f"no limit is called so{nearest(key, known.limits, list_known=False)}"
        return
    units = {limit.unit for limit in ours}
    if own.unit not in units:
        yield f"its unit is {' or '.join(sorted(units))}, not {own.unit}"
    for end in ("at_least", "at_most"):
        if getattr(own, end) is not None and all(getattr(limit, end) is None for limit in ours):
            yield f"it is no limit of the kind {end}; it ships as {ours[0].range}"
        if getattr(own, end) is None and all(getattr(limit, end) is not None for limit in ours):
            yield f"{end} is left out; it ships as {ours[0].range}"


def _wrong_size(key: str, value: int | str, known: _Known) -> Iterator[str]:
    ours = known.sizes.get(key)
    if ours is None:
        if known.of_ours(key):
            yield f"no size is called so{nearest(key, known.sizes, list_known=False)}"
        return
    if kind_of_size(value) != kind_of_size(ours[0]):
        yield f"{value!r} is no {kind_of_size(ours[0])}, as {ours[0]!r} is, with which it ships"
