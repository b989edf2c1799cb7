"""What became of a spread run: how long it took, held against what no run can go below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.plugin.scheduling.night import Group, lower_bound


class Tally:
    """Counts while a run goes on.

    Args:
        groups: what is run.
        workers: how many share it.
        begun: when the first test was handed out, in seconds from any beginning.
    """

    def __init__(self, groups: Sequence[Group], workers: int, begun: float) -> None:
        self._groups = groups
        self._begun = self._ended = begun
        self._took: dict[str, float] = {}
        self.workers = workers

    def note(self, test: str, seconds: float, now: float) -> None:
        """A test is over, and took so long."""
        self._took[test] = seconds
        self._ended = now

    def lost(self, now: float) -> None:
        """A worker died in a test: what it took counts as none of the work that there was."""
        self._ended = now

    @property
    def groups(self) -> list[Group]:
        """What ran, with the seconds that it took."""
        return [
            replace(
                group,
                tasks=tuple(
                    replace(task, seconds=self._took[task.name]) for task in group.tasks if task.name in self._took
                ),
            )
            for group in self._groups
        ]

    @property
    def makespan(self) -> float:
        """Seconds from the first test handed out to the end of the last one."""
        return self._ended - self._begun

    @property
    def bound(self) -> float:
        """The seconds that no way to hand them out can go below."""
        return lower_bound(self.groups, self.workers)

    @property
    def quiet(self) -> float:
        """Seconds that were measured."""
        return sum(group.quiet for group in self.groups)

    def words(self) -> str:
        """One line of them; empty where there was nothing to spread."""
        if self.workers < 2 or not self.bound:
            return ""
        ratio = self.makespan / self.bound
        return (
            f"{_span(self.makespan)} on {self.workers} workers: {ratio:.2f} x the least possible"
            f" ({_span(self.bound)}, {_span(self.quiet)} of measuring in quiet)"
        )


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{seconds:.1f} s"
