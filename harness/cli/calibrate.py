"""``interop calibrate``: limits from a lab's own nights."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from harness.core import UsageError
from harness.lab.calibration import OwnLimit
from harness.lab.keeping import keep
from harness.lab.limits import LimitFile
from harness.lab.load import DEFAULT, load_lab
from harness.lab.models import Lab
from harness.lab.rules import rules_of
from harness.measure.proposal import LOOKS, Proposal, propose
from harness.report import nights
from harness.report.nights import Nights, Sample

_RUNS = Path("reports") / "out"
_SAMPLES, _NIGHTS, _MARGIN = 20, 3, 20
_WIDE = 200  # a file or a pipe has no edge to fold at


@dataclass(frozen=True, slots=True)
class Group:
    """The samples of one limit in one place.

    Args:
        where: the pool or host.
        key: the limit's.
        ships: the limit, as the product ships it for one kind of such a host.
        samples: what was seen, when the check did as much as it did last.
        others: how many samples were made when it did more or less.
    """

    where: str
    key: str
    ships: LimitFile
    samples: tuple[Sample, ...]
    others: int = 0

    @classmethod
    def of(cls, where: str, key: str, ships: LimitFile, samples: list[Sample]) -> Group:
        """Sort out what was seen while the check's sizes were others."""
        now = max(samples, key=lambda sample: (sample.day, sample.run)).sizes
        same = tuple(sample for sample in samples if sample.sizes == now)
        return cls(where, key, ships, same, len(samples) - len(same))

    @property
    def days(self) -> list[date]:
        """When they were seen."""
        return sorted({sample.day for sample in self.samples})

    def missing(self, samples: int, days: int) -> str:
        """What is missing of so many samples and days, in words; empty: nothing."""
        lack = {"sample": samples - len(self.samples), "night": days - len(self.days)}
        return " and ".join(_counted(count, word) for word, count in lack.items() if count > 0)

    def proposal(self, margin: float) -> Proposal:
        """The limit that they speak for."""
        return propose(
            [sample.value for sample in self.samples],
            lower=self.ships.at_least is not None,
            upper=self.ships.at_most is not None,
            margin=margin,
            resolution=LOOKS if any(sample.waited for sample in self.samples) else 0.0,
        )


@click.command("calibrate", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("runs", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path))
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Whose pools and hosts.")
@click.option("--pool", metavar="NAME", help="This pool of the lab only.")
@click.option("--each-host", is_flag=True, help="A limit for each host, instead of one for its pool.")
@click.option("--limit", "pattern", default="*", metavar="PATTERN", help="These limits only: `L02.boot`, `C*` ...")
@click.option(
    "--since", metavar="YYYY-MM-DD", type=click.DateTime(["%Y-%m-%d"]), help="Leave out what ran before this day (UTC)."
)
@click.option("--samples", default=_SAMPLES, show_default=True, type=click.IntRange(2), help="The fewest that count.")
@click.option("--nights", "days", default=_NIGHTS, show_default=True, type=click.IntRange(1), help="Of how many days.")
@click.option("--margin", default=_MARGIN, show_default=True, type=click.IntRange(0, 1000), help="Added, in percent.")
@click.option("--reason", default="", metavar="TEXT", help="Why it is so in this lab; stands in the file.")
@click.option("--write", is_flag=True, help="Write into the file that the lab names as `calibration:`.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write into this file.")
def command(  # noqa: PLR0917  click calls it by name
    runs: tuple[Path, ...],
    lab: str,
    pool: str | None,
    each_host: bool,
    pattern: str,
    since: datetime | None,
    samples: int,
    days: int,
    margin: int,
    reason: str,
    write: bool,
    output: Path | None,
) -> None:
    """Propose limits of this lab's own, from what its nights came to.

    The product ships some limits as a first choice that nobody confirmed (`interop checks --limits` names
    them). A check that goes beyond one passes with a warning, and keeps the value. Once there are enough values of a
    pool, this command says what the pool's own limit should be; written into the lab's file, that limit is hard.

    DIR is a folder of runs, or a run; without any it is reports/out. Values of tests that failed do not count.

    A limit begins at the furthest value that was seen, or at the upper quartile and three interquartile ranges if that
    is further; the margin is added (for waits a second at least), and the sum rounded up to two digits.

    \b
    interop calibrate                          look, and write nothing
    interop calibrate --pool esxi8 --write     write into the lab's file
    interop calibrate -o configs/limits/mylab.yaml --reason "new storage"

    Exit status 1, and nothing is written, when no limit has enough samples. How limits are read: docs/limits.md.
    """  # noqa: D301  click reads the escaped letter
    found = load_lab(lab)
    target = _target(found, output, write=write)
    told = _read(nights.runs_below(runs or (_RUNS,)), since)
    groups = _groups(found, told.samples, pool, pattern, each_host=each_host)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE, soft_wrap=True)
    _say_what_was_read(console, told, groups)
    ready = {group: group.proposal(margin / 100) for group in groups if not group.missing(samples, days)}
    if ready:
        console.print(_table(ready))
    for group in groups:
        lack = group.missing(samples, days)
        if lack:
            have = f"{_counted(len(group.samples), 'sample')} of {_counted(len(group.days), 'night')}"
            console.print(escape(f"{group.key} on {group.where}: {have}; {lack} missing"))
    if not ready:
        raise UsageError(
            f"no limit has {samples} samples of {days} nights",
            hint="run more nights, name more folders, or ask for fewer by --samples and --nights",
        )
    if target is None:
        console.print("nothing was written: --write writes into the file that the lab names, -o FILE into any")
        return
    limits = {(group.where, group.key): _own(group, made, reason) for group, made in ready.items()}
    for where, key in keep(target, limits):
        console.print(escape(f"{key} on {where}: left as it is, for somebody decided it ({target})"))
    console.print(escape(f"written to {target}"))
    if found.calibration is None or found.calibration.resolve() != target.resolve():
        console.print(escape(f"runs take it by `calibration: {target}` in {found.path}, or by --calibration {target}"))


def _target(lab: Lab, output: Path | None, *, write: bool) -> Path | None:
    if output is not None:
        return output
    if write and lab.calibration is None:
        raise UsageError(
            f"the lab {lab.name!r} names no file for its limits",
            hint=f"add `calibration: FILE` to {lab.path}, or name one by -o FILE",
        )
    return lab.calibration if write else None


def _read(folders: list[Path], since: datetime | None) -> Nights:
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("reading runs", total=len(folders))
        return nights.read(
            folders, since=since.date() if since else None, tell=lambda done: bars.update(bar, completed=done)
        )


def _groups(lab: Lab, samples: Iterable[Sample], only: str | None, pattern: str, *, each_host: bool) -> list[Group]:
    pools = lab.pools()
    if only is not None and only not in pools:
        raise UsageError(f"the lab {lab.name!r} has no pool {only!r}; its pools: {', '.join(sorted(pools))}")
    backends = {pool: members[0].backend for pool, members in pools.items()}
    firsts = {backend: _first_choices(backend) for backend in set(backends.values())}
    sorted_in: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    ships: dict[tuple[str, str], LimitFile] = {}
    for sample in samples:
        if sample.pool not in pools or only not in (None, sample.pool) or not fnmatchcase(sample.key, pattern):
            continue
        limit = firsts[backends[sample.pool]].get(sample.key)
        if limit is not None and limit.unit == sample.unit:
            place = (sample.host if each_host else sample.pool, sample.key)
            sorted_in[place].append(sample)
            ships[place] = limit
    return [Group.of(*place, ships[place], found) for place, found in sorted(sorted_in.items())]


def _first_choices(backend: str) -> Mapping[str, LimitFile]:
    """The limits that some kind of host of this backend only warns about."""
    return {
        key: limit for rule in rules_of(backend).rules for key, limit in rule.limits.items() if not limit.calibrated
    }


def _say_what_was_read(console: Console, told: Nights, groups: list[Group]) -> None:
    samples = sum(len(group.samples) for group in groups)
    limits = f"{_counted(len(groups), 'limit')} that may be calibrated"
    console.print(f"{_counted(told.runs, 'run')}, {_counted(samples, 'sample')} of {limits}")
    if told.failed:
        console.print(f"left out, for the test failed: {_counted(told.failed, 'result')}")
    for group in groups:
        if group.others:
            count = _counted(group.others, "sample")
            console.print(escape(f"{group.key} on {group.where}: {count} left out, for the check's sizes were others"))
    for path in told.broken:
        console.print(escape(f"left out, for it cannot be read: {path}"))
    if not groups:
        raise UsageError(
            "nothing in these runs was held against a limit that may be calibrated",
            hint="are they runs of this lab? `interop checks` names its pools",
        )


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _table(ready: Mapping[Group, Proposal]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("limit", "on", "samples", "nights", "median", "seen", "margin", "proposed", "was"):
        table.add_column(heading, justify="right" if heading in ("samples", "nights", "median", "margin") else "left")
    for group, made in ready.items():
        table.add_row(
            group.key,
            escape(group.where),
            str(made.samples),
            str(len(group.days)),
            f"{made.median:.4g}",
            made.spread,
            f"{made.margin:.3g}",
            escape(_own(group, made, "").range),
            escape(max(group.samples, key=lambda sample: sample.day).in_force),
        )
    return table


def _own(group: Group, made: Proposal, reason: str) -> OwnLimit:
    first, last = group.days[0], group.days[-1]
    when = f"between {first} and {last}" if first != last else f"on {first}"
    return OwnLimit(
        at_least=made.at_least,
        at_most=made.at_most,
        unit=group.ships.unit,
        reason=f"{reason}; seen {when}" if reason else f"seen in this lab {when}",
        date=datetime.now(tz=UTC).date(),
        samples=made.samples,
        nights=len(group.days),
        spread=made.spread,
        margin=float(f"{made.margin:.3g}"),
    )
