"""How much more all CPUs of a guest do together than each alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.guest.inside import program
from harness.guest.probe import Probe

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
        """Of each trial: by how much all CPUs together outdid one at its best; N where N run side by side."""
        best = [max(trials) for trials in self.alone.values()]
        return tuple(sum(trial) * len(best) / sum(best) for trial in zip(*self.together.values(), strict=True))

    @property
    def speed_up(self) -> float:
        """The best of :attr:`speed_ups`: what else goes on takes away, but never adds; CPUs that take turns never get
        beyond 1.
        """
        return max(self.speed_ups)


def parse_speed(data: bytes) -> Speed:
    """What the program ``side_by_side`` printed."""
    fields = json.loads(data)

    def rates(name: str) -> dict[int, tuple[float, ...]]:
        found = {int(cpu): tuple(float(rate) for rate in trials) for cpu, trials in fields[name].items()}
        if not found or not all(trials and min(trials) > 0 for trials in found.values()):
            raise ValueError(f"a CPU got nothing done {name}")
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
