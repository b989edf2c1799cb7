"""Rounds of both sides in turn: the full list first, what looked like a regression once more, then what measures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness.core import LabError, UsageError
from harness.measure.plan import candidate_first
from harness.report.summary import FLAKY_STATUS
from harness.validation.cells import SideName
from harness.validation.child import run
from harness.validation.ledger import Ledger, Round

OUTPUT = "output.txt"
_TAIL = 12
# pytest's own: https://docs.pytest.org/en/stable/reference/exit-codes.html
_ENDED = (0, 1, FLAKY_STATUS)
_INTERRUPTED, _USAGE, _NOTHING = 2, 4, 5


class Runner(Protocol):
    """What carries out one round."""

    def __call__(self, round_: Round, checks: Sequence[str], folder: Path) -> int:
        """Run it into ``folder``; pytest's exit status."""


@dataclass(frozen=True, slots=True)
class Pytest:
    """A round as anybody would run it: pytest, in a process of its own.

    Args:
        ledger: the validation.
        release: the release file, as ``--release`` takes it; empty: guests are as the image has them.
        backends: the release's kinds of hosts; empty: every one of the lab.
        tell: told what happens where we are asked to end while it runs.
    """

    ledger: Ledger
    release: str = ""
    backends: tuple[str, ...] = ()
    tell: Callable[[str], object] = lambda _: None

    def words(self, round_: Round, checks: Sequence[str], folder: Path) -> list[str]:
        """The command line.

        Values stand in one word with their options: pytest takes a word that is a folder or a file for a place to look
        for its configuration in, and finds none beside an ``--out`` or a lab file that lies elsewhere.
        """
        terms = self.ledger.terms
        words = [sys.executable, "-m", "pytest", f"--lab={terms.lab}", f"--report-dir={folder}", "-pno:cacheprovider"]
        if terms.image:
            words.append(f"--image={terms.image}")
        if self.release:
            words.append(f"--release={self.release}@{round_.side}")
        host = round_.host or terms.host
        if host:
            words.append(f"--host={host}")
        elif self.backends:
            words += ["-m", " or ".join(self.backends)]
        for check in checks:
            words.append(f"--check={check}")
        return [*words, *terms.arguments]

    def __call__(self, round_: Round, checks: Sequence[str], folder: Path) -> int:
        """Run it; what it prints is kept beside its results.

        Raises:
            LabError: pytest could not start.
            KeyboardInterrupt: we are to end; it has ended.
        """
        return run(self.words(round_, checks, folder), folder / OUTPUT, self.tell)


@dataclass(slots=True)
class Campaign:
    """The rounds of one validation.

    Args:
        ledger: where they are written down.
        runner: carries one out.
        checks: patterns of every check of a full round.
        measuring: patterns of the checks that take figures, once the full rounds have told which do.
        suspicious: checks that failed on the candidate's side alone so far.
        more: how many pairs the figures still need, with that many pairs had.
        hosts: the members that measuring rounds are tied to, one after the other; empty: pools have one member each.
        tell: told of each round that begins.
        clock: seconds that only grow.
    """

    ledger: Ledger
    runner: Runner
    checks: Sequence[str]
    measuring: Callable[[], Sequence[str]]
    suspicious: Callable[[], Sequence[str]]
    more: Callable[[], int]
    hosts: Sequence[str] = ()
    tell: Callable[[Round], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic

    def carry_out(self) -> None:
        """Run what is left to run.

        Raises:
            UsageError: pytest refused its arguments, or nothing was selected.
            LabError: a round could not be brought to an end.
        """
        terms = self.ledger.terms
        for pair in range(terms.rounds):
            self._pair(pair, "full", self.checks)
        if not terms.itself and not any(each.kind == "repeat" for each in self.ledger.rounds):
            if again := self.suspicious():
                self._pair(-1, "repeat", again)
        elif self._half_done(-1):
            self._pair(-1, "repeat", self.suspicious())
        measuring = self.measuring()
        if not measuring:
            return
        if terms.seconds and not terms.budget:
            self.ledger.fix_budget(self._affordable())
        pair = terms.rounds
        while pair < self.ledger.terms.budget:
            wanted = 1 if self._half_done(pair) or self._ended(pair) else self.more()
            if wanted <= 0:
                return
            for _ in range(min(wanted, self.ledger.terms.budget - pair)):
                self._pair(pair, "measure", measuring)
                pair += 1

    def _affordable(self) -> int:
        """Pairs that the time allows, by what the first ones took; those that ran are among them."""
        full = [each.seconds for each in self.ledger.rounds if each.kind == "full"]
        a_pair = sum(full) / self.ledger.terms.rounds
        left = self.ledger.terms.seconds - sum(each.seconds for each in self.ledger.rounds)
        return self.ledger.terms.rounds + max(0, int(left / max(a_pair, 1e-9)))

    def _pair(self, pair: int, kind: str, checks: Sequence[str]) -> None:
        for host in self.hosts if kind == "measure" and self.hosts else ("",):
            for side in self._order(pair):
                if not any((each.pair, each.side, each.host) == (pair, side, host) for each in self.ledger.rounds):
                    self._round(Round(len(self.ledger.rounds) + 1, pair, side, kind, host), checks)

    def _order(self, pair: int) -> tuple[SideName, SideName]:
        seed = self.ledger.terms.seed
        ours = candidate_first(pair + 1, seed)[pair] if pair >= 0 else candidate_first(1, ~seed)[0]
        first = SideName.CANDIDATE if ours else SideName.BASELINE
        return first, first.other

    def _half_done(self, pair: int) -> bool:
        sides = [each.side for each in self.ledger.rounds if each.pair == pair]
        return bool(sides) and not self._ended(pair)

    def _ended(self, pair: int) -> bool:
        there = [each for each in self.ledger.rounds if each.pair == pair]
        wanted = len(self.hosts) or 1
        return len(there) >= 2 * (wanted if any(each.kind == "measure" for each in there) else 1)

    def _round(self, round_: Round, checks: Sequence[str]) -> None:
        folder = self.ledger.clear(round_)
        self.tell(round_)
        began, at = datetime.now(tz=UTC), self.clock()
        status = self.runner(round_, checks, folder)
        ended = replace(round_, status=status, seconds=self.clock() - at, began=began.isoformat(timespec="seconds"))
        _judge_exit(ended, folder)
        self.ledger.done(ended)


def _judge_exit(ended: Round, folder: Path) -> None:
    if ended.status in _ENDED:
        return
    said = "\n  ".join(_tail(folder / OUTPUT))
    what = f"round {ended.number} ({ended.side})"
    if ended.status == _USAGE:
        raise UsageError(f"{what}: pytest refused its arguments:\n  {said}")
    if ended.status == _NOTHING:
        raise UsageError(f"{what}: no check was selected:\n  {said}", hint="do `required:` and the lab fit together?")
    how = "was interrupted" if ended.status == _INTERRUPTED else f"ended with {ended.status}"
    hint = f"{folder / OUTPUT} has all of it; the same command goes on from here"
    raise LabError(f"{what}: pytest {how}:\n  {said}", operation="validate", hint=hint)


def _tail(output: Path) -> Iterator[str]:
    if output.is_file():
        yield from output.read_text(encoding="utf-8", errors="backslashreplace").splitlines()[-_TAIL:]
