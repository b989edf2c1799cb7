"""What a sign-off demands: which checks must pass on which pools, and which figures must not get worse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.lab.models import Lab
from harness.lab.releases import Release
from harness.lab.releases.seen import must_change


@dataclass(frozen=True, slots=True)
class Required:
    """A line of the release file's list.

    Args:
        check: a check's number, or a pattern of numbers (``I*``).
        pools: the pools it must pass on.
    """

    check: str
    pools: tuple[str, ...]

    def covers(self, check: str, pool: str) -> bool:
        """Whether this line asks for that check on that pool."""
        return pool in self.pools and fnmatchcase(check, self.check)


@dataclass(frozen=True, slots=True)
class Figure:
    """A measurement that must not get worse.

    Args:
        check: the number of the check that takes it, or a pattern of numbers.
        name: the measurement's name, or a pattern of names.
        practical: the relative loss that does not matter: 0.01 is one percent.
    """

    check: str
    name: str
    practical: float

    @property
    def named(self) -> bool:
        """It names one check, which must run and measure; a pattern only says what holds for whatever is measured."""
        return not set(self.check) & set("*?[")

    def covers(self, check: str, name: str) -> bool:
        """Whether this line speaks of that measurement; parameters in brackets belong to no name."""
        return fnmatchcase(check, self.check) and fnmatchcase(name.partition(" (")[0], self.name)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that a sign-off demands.

    Args:
        required: checks by pools; a cell that no line names is looked at too, but need not have run.
        figures: measurements.
        must_change: modules and services whose version must differ between the sides.
        pools: the pools that the release is for.
    """

    required: tuple[Required, ...]
    figures: tuple[Figure, ...] = ()
    must_change: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()

    def requires(self, check: str, pool: str) -> bool:
        """Whether a check must pass on a pool."""
        return any(line.covers(check, pool) for line in self.required)

    def practical(self, check: str, name: str) -> float | None:
        """The loss of a measurement that does not matter; None where it is not among those asked for."""
        found = [line.practical for line in self.figures if line.covers(check, name)]
        return min(found) if found else None

    @property
    def checks(self) -> tuple[str, ...]:
        """Patterns of every check that a round must run."""
        named = [line.check for line in self.figures if line.named]
        return tuple(dict.fromkeys([*(line.check for line in self.required), *named]))


def everywhere(checks: Iterable[str], pools: Iterable[str]) -> tuple[Required, ...]:
    """Each check on each pool."""
    there = tuple(pools)
    return tuple(Required(check, there) for check in checks)


def of_release(release: Release, lab: Lab) -> Wanted:
    """What a release file demands in a lab: its patterns of pools become the lab's pools.

    A pattern that no pool of the lab fits stays as it stands: no result will ever answer it, and the decision says so.
    """
    there = {pool: members for pool, members in lab.pools().items() if members[0].backend in release.hosts}
    required: list[Required] = []
    for line in release.required:
        pools = tuple(
            dict.fromkeys(
                pool
                for pattern in line.pools
                for pool in ([one for one in there if fnmatchcase(one, pattern)] or [pattern])
            )
        )
        required += everywhere(line.checks, pools)
    figures = []
    for key, practical in release.measure.items():
        check, _, name = key.partition(".")
        figures.append(Figure(check, name or "*", practical))
    return Wanted(tuple(required), tuple(figures), tuple(must_change(release)), tuple(there))
