"""``python -m benchmarks night``: what the harness itself costs a night, and how that grows with tests and hosts.

Hosts are simulated (:mod:`benchmarks.simulated`), so that nothing but the harness uses processors. Every figure is a
ratio to a floor of its own; docs/benchmarks.md says how to read them.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import simulation
from benchmarks.simulated import ROUND_TRIP
from benchmarks.simulation import FACTS, Seen

FLAT = 1.2
"""By how much the cost of a test may grow."""
WHOLE = 1.5
"""What a run does for a test besides what lies between two: collecting, planning, the summary; guests anew."""
SPREAD = 1.1
"""The time of a night over the least possible, where every worker has ten groups or more."""
_EACH = 10  # tests on each of many hosts: the first tests of a guest cost more than later ones, so like meets like
_FEW = 8  # runs of one host for each run of many: as many hosts are seen
_SCALE = 0.01
_WORKERS = 3
_NIGHT_HOSTS = 8  # of four groups each: ten and more for every worker
_RECORDED = simulation.ROOT / "tests/recorded/nights/local.json"
_NIGHT_SCALE = 0.003
_USUAL = "| 2 vCPU, 1 GiB, bios |"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure.

    Args:
        name: what it is.
        value: a ratio.
        promise: at most this is promised; None: it is only shown.
        made_of: the values that it was computed from, in words.
    """

    name: str
    value: float
    promise: float | None
    made_of: str

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.promise is None or self.value <= self.promise


def cost(runs: Iterable[Seen]) -> float:
    """Processor seconds between two tests that read the same guest: of each run the median, and of the runs the least.

    What else the machine does makes the same work cost more, never less.
    """
    return min(statistics.median(seen.between) for seen in runs)


def host_cost(runs: Iterable[Seen]) -> float:
    """Processor seconds that a host costs once, with its first guest; otherwise as :func:`cost`."""
    return min(statistics.median(seen.opening) for seen in runs)


def by_tests(runs: dict[int, list[Seen]], bare: dict[int, list[Seen]]) -> list[Line]:
    """How the cost of a test, of memory and of boots grow with the number of tests on one host.

    Args:
        runs: by the number of tests.
        bare: the same number of tests that ask for nothing, as pytest runs them by itself.
    """
    least, most = min(runs), max(runs)
    each = {tests: cost(seen) for tests, seen in runs.items()}
    lines = [
        Line(
            f"processor time of a test over bare pytest's, {tests} tests",
            each[tests] / cost(bare[tests]),
            None,
            f"{_ms(each[tests])} / {_ms(cost(bare[tests]))}",
        )
        for tests in sorted(runs)
    ]
    lines += [
        Line(f"its growth from {least} to {tests} tests", each[tests] / each[least], FLAT, _over(each, tests, least))
        for tests in sorted(runs)[1:]
    ]
    whole = {tests: min(seen.cpu for seen in found) for tests, found in runs.items()}
    further = (whole[most] - whole[least]) / (most - least)
    words = f"({whole[most]:.2f} s - {whole[least]:.2f} s) / {most - least} tests / {_ms(each[most])}"
    lines.append(Line("processor time of a whole run's further tests over that", further / each[most], WHOLE, words))
    memory = {tests: statistics.median(seen.memory for seen in found) for tests, found in runs.items()}
    floor = statistics.median(seen.memory for seen in bare[most])
    lines.append(
        Line(f"memory over bare pytest's, {most} tests", memory[most] / floor, None, _mib(memory[most], floor))
    )
    grown = _mib(memory[most], memory[least])
    lines.append(Line(f"its growth from {least} to {most} tests", memory[most] / memory[least], FLAT, grown))
    return lines


def by_hosts(runs: dict[int, list[Seen]]) -> list[Line]:
    """How the cost of a test grows with the number of hosts, for as many tests on each of them.

    Args:
        runs: by the number of hosts.
    """
    least, most = min(runs), max(runs)
    each = {hosts: statistics.median(gap for one in seen for gap in one.between) for hosts, seen in runs.items()}
    lines = [
        Line(f"cost of a test, {least} to {hosts} hosts", each[hosts] / each[least], FLAT, _over(each, hosts, least))
        for hosts in sorted(runs)[1:]
    ]
    once = {hosts: host_cost(seen) for hosts, seen in runs.items() if hosts > least}
    few = min(once)
    lines.append(
        Line(f"cost of a host and its first guest, {few} to {most} hosts", once[most] / once[few], None,
             _over(once, most, few))
    )  # fmt: skip
    memory = {hosts: statistics.median(seen.memory for seen in found) for hosts, found in runs.items()}
    grown = _mib(memory[most], memory[least])
    lines.append(Line(f"memory, {least} to {most} hosts", memory[most] / memory[least], FLAT, grown))
    return lines


def boots(runs: Iterable[Seen]) -> Line:
    """Guests booted against the fewest possible: one of each host and shape."""
    seen = list(runs)
    booted, fewest = sum(one.boots for one in seen), sum(one.fewest for one in seen)
    words = f"{booted} / {fewest} in {len(seen)} runs"
    if any(one.spread for one in seen):  # two groups of one shape may begin at once: that is what workers are for
        return Line(f"the same on {_WORKERS} workers", booted / fewest, None, words)
    return Line("boots over the fewest possible", booted / fewest, 1.0, words)


def facts(runs: Iterable[Seen], scale: float) -> Line:
    """Reading facts in one command, against the one round trip that it cannot go without.

    Args:
        runs: where facts were read.
        scale: what the round trip was multiplied by.
    """
    own = statistics.median(second for seen in runs for second in seen.facts) - ROUND_TRIP * scale
    taken = ROUND_TRIP + own
    words = f"{FACTS / taken:.0f} facts/s; {_ms(own)} of our own beside a round trip of {_ms(ROUND_TRIP)}"
    return Line(f"{FACTS} facts over one round trip", taken / ROUND_TRIP, FLAT, words)


def spread(seen: Seen) -> Line:
    """The time of a night over the least possible."""
    words = f"{seen.tests} tests in {4 * _NIGHT_HOSTS} groups on {_WORKERS} workers"
    assert seen.spread is not None
    return Line("night over the least possible", seen.spread, SPREAD, words)


def recorded(scale: float) -> dict[str, list[float]]:
    """What the tests of a recorded night took, by how they use guests, in seconds times ``scale``."""
    found: dict[str, list[float]] = {"shared": [], "own": [], "shape": [], "quiet": []}
    for group in json.loads(_RECORDED.read_text())["groups"]:
        if group["members"][0]["host"] == "kvm":
            usual = "own" if "own guests" in group["group"] else "shared" if _USUAL in group["group"] else "shape"
            for test in group["tests"]:
                kind = "quiet" if test["quiet"] and usual == "shared" else usual
                found[kind].append(round(test["seconds"] * scale, 4))
    return found


def run(runs: int, tests: Sequence[int], hosts: Sequence[int], say: Callable[[str], None], file: Path | None) -> bool:
    """Measure, print, and tell whether all promises are kept.

    Args:
        runs: runs of each size.
        tests: numbers of tests on one host; at least two.
        hosts: numbers of hosts; at least three.
        say: told how it goes.
        file: where the figures go as JSON, too.
    """
    grown: dict[int, list[Seen]] = {count: [] for count in tests}
    bare: dict[int, list[Seen]] = {count: [] for count in tests}
    wide: dict[int, list[Seen]] = {count: [] for count in hosts}
    for turn in range(runs):  # in turn, so that a moment in which the machine is busy hits all sizes alike
        for count in tests:
            with simulation.place(1, _SCALE) as place:
                bare[count].append(place.bare(count))
                grown[count].append(place.mixed(count))
            say(f"{turn + 1}/{runs}: {count} tests: {_ms(cost(grown[count][-1:]))} between two")
        for count in hosts:
            with simulation.place(count, _SCALE) as place:
                wide[count] += [place.mixed(_EACH) for _ in range(max(1, _FEW // count))]
            say(f"{turn + 1}/{runs}: {count} hosts: {_ms(cost(wide[count][-1:]))} between two")
    with simulation.place(_NIGHT_HOSTS, _SCALE) as place:
        night = place.night(recorded(_NIGHT_SCALE), _WORKERS)
    everything = [seen for found in (*grown.values(), *wide.values()) for seen in found]
    lines = [
        *by_tests(grown, bare),
        *by_hosts(wide),
        boots(everything),
        boots([night]),
        spread(night),
        facts(everything, _SCALE),
    ]
    _show(lines)
    if file is not None:
        file.write_text(json.dumps([asdict(line) for line in lines], indent=1))
    return all(line.kept for line in lines)


def _show(lines: Iterable[Line]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("figure", "ratio", "promise", "made of"):
        table.add_column(heading)
    for line in lines:
        promise = "" if line.promise is None else f"<= {line.promise:g} {'kept' if line.kept else 'NOT KEPT'}"
        table.add_row(line.name, f"{line.value:.2f}", promise, line.made_of)
    Console(width=180 if not sys.stdout.isatty() else None, highlight=False).print(table)


def _over(values: dict[int, float], top: int, bottom: int) -> str:
    return f"{_ms(values[top])} / {_ms(values[bottom])}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _mib(top: float, bottom: float) -> str:
    return f"{top / (1 << 20):.0f} MiB / {bottom / (1 << 20):.0f} MiB"
