"""What runs came to, for years: one line of JSON a run, in a file that lives in git or on a share.

The file belongs to a lab and is made to be kept with little care:

* The same run is the same bytes, whoever writes it: keys, results and measurements are sorted, numbers rounded.
* Several controllers' files merge by concatenation, by ``merge=union`` of git, or by :func:`merge`: the order of lines
  means nothing, and a run that stands there twice counts once.
* A damaged line is named, stays where it is, and takes nothing else along.

Allure's own history (``history.jsonl``) is another file: its renderer writes it and alone can read it. Both can be made
anew from raw results at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock

from harness.core import LabError
from harness.core.files import write_whole
from harness.measure import Better
from harness.report.cells import Cell, RunCells
from harness.report.measured import Figure, Measurements, Spread, rounded
from harness.report.summary import Verdict

FILE = "runs.jsonl"
"""Its usual name, beside the folders of runs."""
VERSION = 1
"""Of the format. A line of a later one is left as it is."""
SHOWN = 30
"""Runs that a sparkline shows."""

Params: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What a pool's hosts were in one run.

    Args:
        product: ``VMware ESXi``; several, where members differ, joined by ``/``.
        build: the product's version and build.
        accel: what ran the vCPUs: ``kvm``, ``tcg`` ...
        twin: they were stand-ins.
    """

    product: str = ""
    build: str = ""
    accel: str = ""
    twin: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One check with its parameters on one pool, as it ended.

    Args:
        check: ``C01``; the test's own name where it has no number.
        part: tells tests apart that share number and parameters.
        params: name and text of each of its own parameters, sorted by name.
        pool: where it ran.
        status: what became of it.
        duration: in seconds.
        figures: what it measured, sorted by name.
        source: the digest of the check's source; empty: not known.
    """

    check: str
    part: str
    params: Params
    pool: str
    status: Verdict
    duration: float = 0.0
    figures: tuple[Figure, ...] = ()
    source: str = ""

    @property
    def key(self) -> tuple[str, str, Params, str]:
        """What is the same of it in every run of a lab."""
        return self.check, self.part, self.params, self.pool


@dataclass(frozen=True, slots=True)
class Night:
    """One run.

    Args:
        run: its id.
        lab: the lab's name.
        start: when its first test began, UTC, to the second.
        image: name of the guest image.
        digest: its sha256, or the first digits of it.
        build: the build id inside it.
        release: the release of integration services under test; empty: what the image carries.
        pools: what ran where, by pool.
        entries: sorted by check, part, parameters and pool.
        harness: the version of the harness; empty: not known.
    """

    run: str
    lab: str
    start: datetime
    image: str = ""
    digest: str = ""
    build: str = ""
    release: str = ""
    pools: Mapping[str, PoolFacts] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    harness: str = ""

    @property
    def kind(self) -> tuple[str, str, str]:
        """What runs share that can be compared over time: lab, image (in whatever build) and release."""
        return self.lab, self.image, self.release


@dataclass(frozen=True, slots=True)
class Damage:
    """A line that could not be read: where it stands, what is wrong, and the line itself."""

    line: int
    words: str
    text: str


@dataclass(frozen=True, slots=True)
class History:
    """Runs, oldest first, each once; and the lines of their file that could not be read."""

    nights: tuple[Night, ...] = ()
    damaged: tuple[Damage, ...] = ()


def of(run: RunCells, taken: Callable[[Cell], tuple[Figure, ...]] | None = None) -> Night:
    """What history keeps of a run.

    Args:
        run: its results.
        taken: what a result measured; None: whatever lies in the run's folder.
    """
    taken = taken or Measurements(run.results).figures
    entries = [
        Entry(
            *(cell.check, cell.part, cell.params, cell.pool, cell.status),
            *(round(cell.duration, 3), taken(cell), cell.source),
        )
        for cell in run.cells
    ]
    return Night(
        run=run.run,
        lab=run.lab,
        start=datetime.fromtimestamp(int(run.start), tz=UTC),
        image=run.image,
        digest=run.digest[:16],
        build=run.build,
        release=run.release,
        pools=_pools(run),
        entries=tuple(sorted(entries, key=lambda entry: entry.key)),
        harness=run.harness,
    )


def _pools(run: RunCells) -> dict[str, PoolFacts]:
    found = {}
    for pool in sorted({cell.pool for cell in run.cells} | {host.pool for host in run.hosts}):
        members = [host for host in run.hosts if host.pool == pool]

        def joined(values: Iterable[str]) -> str:
            return " / ".join(dict.fromkeys(filter(None, values)))

        found[pool] = PoolFacts(
            product=joined(host.product for host in members),
            build=joined(host.version for host in members),
            accel=joined(host.accel for host in members),
            twin=any(host.twin for host in members)
            or any(cell.twin for cell in run.cells if cell.pool == pool and not members),
        )
    return found


def merge(*several: Iterable[Night]) -> tuple[Night, ...]:
    """Runs of several files or controllers as one history: oldest first, each once.

    Of a run that is there in several forms (it was rendered while it still ran, and again later) the one with the most
    results stays; among equals the last by its bytes, so that the order of files decides nothing.
    """
    best: dict[tuple[str, str], tuple[int, str, Night]] = {}
    for night in (night for nights in several for night in nights):
        ranked = (len(night.entries), dump(night), night)
        known = best.get((night.lab, night.run))
        if known is None or known[:2] < ranked[:2]:
            best[night.lab, night.run] = ranked
    return tuple(sorted((night for *_, night in best.values()), key=lambda night: (night.start, night.lab, night.run)))


def together(nights: Iterable[Night]) -> tuple[Night, ...]:
    """Parts of runs, such as shards of one that several workers' machines wrote, as whole runs."""
    whole: dict[tuple[str, str], Night] = {}
    for night in nights:
        known = whole.setdefault((night.lab, night.run), night)
        if known is not night:
            entries = {entry.key: entry for entry in (*known.entries, *night.entries)}
            whole[night.lab, night.run] = replace(
                known,
                start=min(known.start, night.start),
                pools={**known.pools, **night.pools},
                entries=tuple(entries[key] for key in sorted(entries)),
            )
    return merge(whole.values())


def read(path: Path) -> History:
    """Read a file of history; one that is not there has no runs.

    Raises:
        LabError: it is there and cannot be opened.
    """
    if not path.exists():
        return History()
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}", operation="report") from error
    nights, damaged = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                nights.append(load(line))
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                damaged.append(Damage(number, _wrong(error), line))
    return History(merge(nights), tuple(damaged))


def add(path: Path, nights: Iterable[Night]) -> History:
    """Add runs to a file, which is made if it is not there; a run that it has already is replaced.

    Lines that could not be read stay, behind all others: a line of a later version, or one that a person can mend.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        known, fresh = read(path), merge(nights)
        replaced = {(night.lab, night.run) for night in fresh}
        kept = merge((night for night in known.nights if (night.lab, night.run) not in replaced), fresh)
        lines = [*map(dump, kept), *(one.text for one in known.damaged)]
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        if not path.exists() or path.read_bytes() != data:
            write_whole(path, data)
    return History(kept, known.damaged)


def dump(night: Night) -> str:
    """A run as its line, without the end of line; always the same for the same run."""
    plain = {
        "v": VERSION,
        "run": night.run,
        "lab": night.lab,
        "time": night.start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "image": _filled(name=night.image, digest=night.digest, build=night.build),
        "release": night.release,
        "harness": night.harness,
        "pools": {
            pool: _filled(product=facts.product, build=facts.build, accel=facts.accel, twin=facts.twin)
            for pool, facts in sorted(night.pools.items())
        },
        "results": [_plain(entry) for entry in sorted(night.entries, key=lambda entry: entry.key)],
    }
    text = json.dumps(_filled(**plain), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()  # other tools' results may hold half surrogates


def load(line: str) -> Night:
    """A run from its line.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, IndexError: it is damaged, or of a later version.
    """
    said = json.loads(line)
    if said["v"] > VERSION:
        raise ValueError(f"version {said['v']} of the format, and this harness knows {VERSION}: a newer one wrote it")
    image = said.get("image", {})
    return Night(
        run=str(said["run"]),
        lab=str(said.get("lab", "")),
        start=datetime.fromisoformat(said["time"]).astimezone(UTC),
        image=str(image.get("name", "")),
        digest=str(image.get("digest", "")),
        build=str(image.get("build", "")),
        release=str(said.get("release", "")),
        harness=str(said.get("harness", "")),
        pools={str(pool): PoolFacts(**facts) for pool, facts in said.get("pools", {}).items()},
        entries=tuple(sorted((_entry(one) for one in said.get("results", ())), key=lambda entry: entry.key)),
    )


def _plain(entry: Entry) -> dict[str, Any]:
    return _filled(
        check=entry.check,
        part=entry.part,
        params=dict(entry.params),
        pool=entry.pool,
        status=entry.status.value,
        s=round(entry.duration, 3),
        source=entry.source,
        m={one.name: _plain_figure(one) for one in entry.figures},
    )


def _plain_figure(one: Figure) -> list[Any]:
    """``[value, unit, better, uncertainty, [count, least, lower, median, upper, most]]``; nothing trailing is empty."""
    five = one.spread
    spread = [five.count, five.least, five.lower, five.median, five.upper, five.most] if five else None
    row = [rounded(one.value), one.unit, one.better.value, one.uncertainty, spread]
    while row[-1] is None:
        row.pop()
    return row


def _entry(said: Mapping[str, Any]) -> Entry:
    return Entry(
        check=str(said["check"]),
        part=str(said.get("part", "")),
        params=tuple(sorted((str(name), str(value)) for name, value in said.get("params", {}).items())),
        pool=str(said["pool"]),
        status=Verdict(said["status"]),
        duration=float(said.get("s", 0.0)),
        source=str(said.get("source", "")),
        figures=tuple(_figure(name, row) for name, row in sorted(said.get("m", {}).items())),
    )


def _figure(name: str, row: list[Any]) -> Figure:
    value, unit, better, *rest = row
    known, spread = (*rest, None, None)[:2]
    return Figure(
        str(name),
        float(value),
        str(unit),
        Better(better),
        None if known is None else float(known),
        Spread(int(spread[0]), *map(float, spread[1:])) if spread else None,
    )


def _filled(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ("", {}, [], (), None, False, 0.0)}


def _wrong(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg} at character {error.pos + 1}"
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
