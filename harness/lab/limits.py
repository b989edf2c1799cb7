"""Limits, and what a test held against them.

A limit that is not calibrated is a first choice of ours: a value beyond it is kept and warned of, and the check goes
on. Every other limit is hard. Whatever a test held against a limit, and how much it did, is kept with its result: a lab
calibrates its limits from that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import model_validator

from harness.core.config import StrictModel

# A check's number and a dot: what stands there is about a product, and all else is the harness's own patience.
_OF_A_CHECK = re.compile(r"(?:[A-Z]\d{2}|[A-Z][A-Z0-9]+-\d{3,})\.")


def of_a_check(key: str) -> bool:
    """Whether a key (``C06.busy``) belongs to a check, and not to the harness itself (``host.verb``)."""
    return _OF_A_CHECK.match(key) is not None


class Bounds(StrictModel):
    """The two ends of a limit, in its unit."""

    at_least: float | None = None
    """The smallest value allowed."""
    at_most: float | None = None
    """The largest value allowed."""
    unit: str
    """What is counted: ``s``, ``ns``, ``%`` ..."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a limit needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("nothing lies between at_least and at_most")
        return self

    def keeps(self, value: float) -> bool:
        """Whether ``value``, in :attr:`unit`, lies inside; the bounds themselves do."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def range(self) -> str:
        """``at least 0.9 s and at most 5 s``."""
        pairs = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g} {self.unit}" for word, bound in pairs if bound is not None)


class LimitFile(Bounds):
    """A number that a check holds a value against, as a file of expectations says it."""

    calibrated: bool = True
    """False for a first choice of ours that no real host of this kind has confirmed yet: exceeding it only warns."""
    source: str
    """Who says so."""

    def __str__(self) -> str:
        return f"{self.range} ({self.source}{'' if self.calibrated else '; not calibrated yet'})"


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that a test held against a limit.

    Args:
        key: the limit's (``C06.busy``).
        value: in the limit's unit.
        limit: what was in force.
        waited: the value is a time that was waited, and so no more exact than the looks that were taken meanwhile.
    """

    key: str
    value: float
    limit: LimitFile
    waited: bool = False

    @property
    def kept(self) -> bool:
        """Whether the value keeps the limit."""
        return self.limit.keeps(self.value)

    def __str__(self) -> str:
        return f"{self.key} is {self.value:.4g} {self.limit.unit}, not {self.limit}"

    def plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "key": self.key,
            "value": self.value,
            "kept": self.kept,
            "waited": self.waited,
        } | self.limit.model_dump()


@dataclass(slots=True)
class Readings:
    """What one test held against limits, and which sizes it used."""

    taken: list[Reading] = field(default_factory=list)
    sizes: dict[str, int | str] = field(default_factory=dict)

    def take(self, reading: Reading) -> bool:
        """Keep a reading; False where the limit is hard and the value beyond it."""
        self.taken.append(reading)
        return reading.kept or not reading.limit.calibrated

    def worst(self) -> list[Reading]:
        """One reading a limit: that which went furthest, by the limit's own direction."""
        found: dict[str, Reading] = {}
        for reading in self.taken:
            known = found.get(reading.key)
            if known is None or _distance(reading) > _distance(known):
                found[reading.key] = reading
        return list(found.values())

    def warnings(self) -> list[str]:
        """Every limit that was exceeded and only warns, in words."""
        return [str(reading) for reading in self.worst() if not reading.kept and not reading.limit.calibrated]

    def plain(self) -> dict[str, Any]:
        """As JSON-able data: limits that were in force, each with the worst value held against it, and sizes."""
        return {"limits": [reading.plain() for reading in self.worst()], "sizes": dict(self.sizes)}


def _distance(reading: Reading) -> float:
    """How far beyond the nearer bound; negative inside."""
    limit, value = reading.limit, reading.value
    over = value - limit.at_most if limit.at_most is not None else float("-inf")
    under = limit.at_least - value if limit.at_least is not None else float("-inf")
    return max(over, under)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in force, as a check gets it.

    Args:
        key: its name (``C06.busy``).
        said: its bounds, and who says so.
        readings: where values that are held against it are kept.
    """

    key: str
    said: LimitFile
    readings: Readings = field(default_factory=Readings, repr=False, compare=False)

    @property
    def at_least(self) -> float | None:
        """The smallest value allowed."""
        return self.said.at_least

    @property
    def at_most(self) -> float | None:
        """The largest value allowed."""
        return self.said.at_most

    @property
    def unit(self) -> str:
        """What is counted."""
        return self.said.unit

    @property
    def calibrated(self) -> bool:
        """False: exceeding it only warns."""
        return self.said.calibrated

    def allows(self, value: float) -> bool:
        """Hold ``value`` against the limit, and keep it; False where the check must fail.

        Beyond a limit that is not calibrated it is True all the same, and the test's result carries a warning.
        """
        return self.readings.take(Reading(self.key, float(value), self.said))

    def keeps(self, value: float) -> bool:
        """Whether ``value`` lies inside: for questions on the way that are no verdict. Nothing is kept of it."""
        return self.said.keeps(value)

    def __str__(self) -> str:
        return str(self.said)

    def waited(self, seconds: float) -> None:
        """Keep how long it took until something came that this limit, a time in seconds, is about."""
        self.readings.take(Reading(self.key, seconds, self.said, waited=True))


def stopwatch(limit: Limit, clock: Callable[[], float]) -> Callable[[], None]:
    """What, when called, keeps how long it is since now, by ``clock`` in seconds."""
    began = clock()
    return lambda: limit.waited(clock() - began)
