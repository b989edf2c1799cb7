"""From a validation's folder to its decision: everything is read back from what the rounds left, and nothing is run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import UsageError
from harness.lab.releases import Unchanged
from harness.measure.judge import Finding
from harness.validation import cells, figures
from harness.validation.cells import Ran, Seen, SideName
from harness.validation.deciding import Decision, Reason, Word, decide
from harness.validation.figures import Paired, Taken
from harness.validation.ledger import Ledger, Round
from harness.validation.wanted import Wanted

# What must not change while a validation runs, or its sides were not compared under the same conditions.
_OF_HOST = ("product", "version", "accel", "twin")
_OF_RUN = ("image", "digest", "build", "harness")

Read = Callable[[Path], Sequence[Taken]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that there is to say.

    Args:
        decision: the verdict with its reasons.
        findings: on each measurement.
        paired: the pairs behind them.
        runs: every result.
        seen: what each round said about itself.
    """

    decision: Decision
    findings: tuple[Finding, ...]
    paired: Paired
    runs: tuple[Ran, ...]
    seen: tuple[tuple[Round, Seen], ...]

    @property
    def pairs(self) -> int:
        """Pairs of rounds that can be compared."""
        return max((finding.series.pairs for finding in self.findings), default=0)


def results_of(ledger: Ledger) -> tuple[Ran, ...]:
    """Every result of every round that ended."""
    found: list[Ran] = []
    for each in ledger.rounds:
        if folder := ledger.results(each):
            found += cells.read(folder, each.side, each.number)
    return tuple(found)


def pairs_of(ledger: Ledger, wanted: Wanted | None, read: Read) -> Paired:
    """Every measurement of every pair; what only was repeated is no part of a pair."""
    rounds = []
    for each in ledger.rounds:
        folder = ledger.results(each)
        if each.pair >= 0 and folder is not None:
            rounds.append((each.pair, each.side, read(folder)))
    return figures.pair(rounds, wanted)


def judge(ledger: Ledger, wanted: Wanted, read: Read) -> Judgement:
    """Judge what a validation came to so far.

    Args:
        ledger: its folder.
        wanted: what is demanded.
        read: a run's measurements.

    Raises:
        UsageError: the candidate is the baseline: what must change did not.
        LabError: a file of the folder cannot be read.
    """
    runs = results_of(ledger)
    _refused(runs)
    seen = tuple((each, cells.seen(folder)) for each in ledger.rounds if (folder := ledger.results(each)))
    _mixed_up(seen)
    paired = pairs_of(ledger, wanted, read)
    found = figures.findings(paired, ledger.terms.budget)
    twins = ledger.terms.allow_twins
    against = figures.against(found, paired, allow_twins=twins)
    against += [*_changed_meanwhile(seen), *_versions(seen, wanted)]
    decision = decide(runs, wanted, measured=against, allow_twins=twins)
    return Judgement(decision, found, paired, runs, seen)


def hosts_of(seen: Sequence[tuple[Round, Seen]]) -> dict[str, dict[SideName, Mapping[str, Any]]]:
    """By host and side, what its last round said of it."""
    hosts: dict[str, dict[SideName, Mapping[str, Any]]] = defaultdict(dict)
    for round_, told in seen:
        for host in told.hosts:
            hosts[str(host["name"])][round_.side] = host
    return dict(sorted(hosts.items()))


def versions(host: Mapping[str, Any]) -> dict[str, str]:
    """What a guest on this host had: what the release made of it, its kernel, and its services' versions."""
    had = {"kernel": str(host["kernel"])} if host.get("kernel") else {}
    had |= {f"package {name}": str(version) for name, version in dict(host.get("services") or {}).items()}
    installed = dict(host.get("release") or {}).get("after") or {}
    return had | {str(name): str(version) for name, version in dict(installed).items()}


def _refused(runs: Sequence[Ran]) -> None:
    """A release that is not what its file says never got to be tested: the run's own word for it."""
    name = f"{Unchanged.__name__}: "
    told = next((ran for ran in runs if ran.reason.startswith(name)), None)
    if told is not None:
        raise UsageError(f"the {told.side} was refused on {told.host}: {told.reason.removeprefix(name)}")


def _mixed_up(seen: Sequence[tuple[Round, Seen]]) -> None:
    """A round's own record says which side was installed; another than its folder's was put there by somebody."""
    for round_, told in seen:
        for host in told.hosts:
            side = dict(host.get("release") or {}).get("side")
            if side not in (None, round_.side):
                raise UsageError(
                    f"round {round_.number} is one of the {round_.side}, and {host['name']} had the {side}"
                )


def _changed_meanwhile(seen: Sequence[tuple[Round, Seen]]) -> list[Reason]:
    values: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for _, told in seen:
        for key in _OF_RUN:
            if told.facts.get(key):
                values["the run", key][told.facts[key]] = None
        for host in told.hosts:
            for key in _OF_HOST:
                values[str(host["name"]), key][str(host.get(key, ""))] = None
    return [
        Reason(Word.INCONCLUSIVE, key, where, f"changed while the validation ran: {', '.join(each)}")
        for (where, key), each in values.items()
        # Two whole images as sides differ in these by intention.
        if len(each) > 1 and not (where == "the run" and key in ("image", "digest", "build") and _by_side(seen, key))
    ]


def _by_side(seen: Sequence[tuple[Round, Seen]], key: str) -> bool:
    sides: dict[SideName, set[str]] = defaultdict(set)
    for round_, told in seen:
        sides[round_.side].add(told.facts.get(key, ""))
    return all(len(values) == 1 for values in sides.values())


def _versions(seen: Sequence[tuple[Round, Seen]], wanted: Wanted) -> list[Reason]:
    """Nothing was compared where both sides had the same version of what must change.

    The run itself refuses a candidate that did not install; this is the same question asked of what it wrote down.
    """
    reasons = []
    for name in wanted.must_change:
        known = False
        for host, sides in hosts_of(seen).items():
            had = {side: version for side, told in sides.items() if (version := versions(told).get(name))}
            if len(had) < len(SideName):
                continue
            known = True
            if len(set(had.values())) == 1:
                version = had[SideName.CANDIDATE]
                raise UsageError(
                    f"{name} is {version} with the baseline and with the candidate alike (host {host}): nothing was "
                    "compared",
                    hint="is the candidate labelled as what it is? `must_change:` of the release file asks for this",
                )
        if not known:
            words = "must change, and its version was not seen on both sides"
            reasons.append(Reason(Word.INCONCLUSIVE, name, "every host", words))
    return reasons
