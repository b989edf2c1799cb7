"""How much more all CPUs of a guest do together than each alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from statistics import median, quantiles
from typing import TYPE_CHECKING

from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Speed:
    """What pinned programs got done, first one after the other, then all at once.

    Args:
        alone: by CPU, rounds a second of each trial while the other CPUs had nothing to do.
        together: the same, while a program span on every CPU.
        ran_on: by CPU, where its programs found themselves: just there if pinning held.
    """

    alone: Mapping[int, tuple[float, ...]]
    together: Mapping[int, tuple[float, ...]]
    ran_on: Mapping[int, frozenset[int]]

    @property
    def speed_ups(self) -> tuple[float, ...]:
        """Of each trial: by how much all CPUs together outdid one of them; N where N run side by side."""
        trials = zip(zip(*self.alone.values(), strict=True), zip(*self.together.values(), strict=True), strict=True)
        return tuple(sum(together) * len(alone) / sum(alone) for alone, together in trials)

    @property
    def speed_up(self) -> float:
        """The median of :attr:`speed_ups`.

        CPUs that take turns come to 1.
        """
        return median(self.speed_ups)

    @property
    def at_best(self) -> float:
        """The third quartile of :attr:`speed_ups`: most trials did not get beyond it."""
        return _quartiles(self.speed_ups)[2]

    @property
    def left_by_others(self) -> float:
        """What foreign load leaves of the speed-up: N CPUs on N processors keep at least N * N / (2 N - 1) of N.

        Load takes of both halves of a trial. With F programs beside it, each as good as a CPU, one CPU alone does
        min(1, N / (1 + F)) of what it could and all together do N * N / (N + F); their ratio is the least at F = N - 1.
        """
        count = len(self.alone)
        return count * count / (2 * count - 1)

    @property
    def unrest(self) -> float:
        """How unsteady the trials were: 0 where each was like the others.

        The widest interquartile range, as a part of its median, of what one CPU did alone and of :attr:`speed_ups`.
        What makes it wide mostly comes from outside: CPUs that take turns do so in every trial. Where they draw on one
        budget, though, so does all else in the guest, and no trial is like another; then :attr:`at_best` tells.
        """

        def spread(trials: tuple[float, ...]) -> float:
            first, middle, third = _quartiles(trials)
            return (third - first) / middle

        return max(spread(trials) for trials in (*self.alone.values(), self.speed_ups))


def _quartiles(trials: tuple[float, ...]) -> list[float]:
    return quantiles(trials, n=4, method="inclusive")


def parse_speed(data: bytes) -> Speed:
    """What the program ``side_by_side`` printed."""
    fields = read_json(data)

    def rates(name: str) -> dict[int, tuple[float, ...]]:
        found = {int(cpu): tuple(float(rate) for rate in trials) for cpu, trials in fields[name].items()}
        if not found or not all(len(trials) > 1 and min(trials) > 0 for trials in found.values()):
            raise ValueError(f"a CPU got nothing done {name}, or was asked only once")
        return found

    ran_on = {int(cpu): frozenset(int(one) for one in cpus) for cpu, cpus in fields["ran_on"].items()}
    return Speed(rates("alone"), rates("together"), ran_on)


def side_by_side(guest: Guest, span: timedelta, trials: int) -> Speed:
    """Spin on each online CPU alone, then on all at once, each time for ``span``; so often.

    Trials alternate, so that what else goes on weighs on both alike.
    """
    cpus = sorted(guest.cpus.online())
    argv = ["python3", "-", str(span.total_seconds()), str(trials), *map(str, cpus)]
    timeout = trials * (len(cpus) + 1) * (span + timedelta(seconds=10)) + timedelta(minutes=1)
    result = guest.run(argv, stdin=program("side_by_side"), timeout=timeout)
    return Probe("work of all CPUs at once", tuple(argv), parse_speed).value(result, guest.name)
