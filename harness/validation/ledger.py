"""The folder of a validation: what was decided before it began, and every round that ended; a killed one goes on.

::

    OUT/
      validation.json            what is validated, the seed, the budget, the rounds that ended
      release.yaml               the release file as it was read
      rounds/003-candidate/      one run of pytest: output.txt, and its folder with results/
      rounds/003-candidate.1/    the same round, killed before it ended; kept, and not judged
      statement.md, statement.html, evidence.tar.zst
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.core import LabError, UsageError
from harness.report.results import write_whole
from harness.validation.cells import SideName

FORMAT = 1
_FILE = "validation.json"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is fixed before the first round: whoever changes one of these begins another validation.

    Args:
        release: its name; empty where a lab is held against itself.
        digest: sha256 of the release file; empty as above.
        lab: the lab, as it was named.
        image: the image, as it was named; empty: the run's default.
        seed: draws which side of each pair runs first.
        rounds: pairs of the full list.
        budget: pairs at most, the full ones among them.
        seconds: what the pairs may take instead, until the first tells how many that makes; 0: ``budget`` counts.
        arguments: what is handed to pytest as it stands.
        allow_twins: twins and emulation count: a rehearsal.
        itself: both sides are the same: nothing but the noise is looked for.
        host: run on this host alone; empty: on every pool.
    """

    release: str
    digest: str
    lab: str
    image: str
    seed: int
    rounds: int
    budget: int
    seconds: float = 0.0
    arguments: tuple[str, ...] = ()
    allow_twins: bool = False
    itself: bool = False
    host: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """One run of pytest.

    Args:
        number: from 1, in the order of running.
        pair: which pair it belongs to, from 0; a pair that only repeats suspicious checks counts on its own, below 0.
        side: what was installed.
        kind: ``full``, ``repeat`` or ``measure``.
        host: the member it was tied to; empty: any.
        status: pytest's exit status.
        seconds: how long it took.
        began: when, as ISO 8601 in UTC.
    """

    number: int
    pair: int
    side: SideName
    kind: str
    host: str = ""
    status: int = 0
    seconds: float = 0.0
    began: str = ""

    @property
    def folder(self) -> str:
        """Its folder below ``rounds``."""
        return f"{self.number:03d}-{self.side}"


@dataclass(slots=True)
class Ledger:
    """What a validation has done.

    Args:
        path: the validation's folder.
        terms: what was fixed.
        rounds: those that ended.
    """

    path: Path
    terms: Terms
    rounds: list[Round] = field(default_factory=list)

    @classmethod
    def begin(cls, path: Path, terms: Terms, release: str, *, drawn: bool = False) -> Ledger:
        """Begin a validation, or go on with the one whose folder this is.

        Args:
            path: the folder.
            terms: what is wanted now.
            release: the text of the release file; empty: there is none.
            drawn: nobody asked for this seed: one that goes on keeps its own.

        Raises:
            UsageError: the folder holds a validation of something else.
        """
        if not (path / _FILE).exists():
            if path.exists() and any(path.iterdir()):
                hint = "name a folder that is new, or one of a validation"
                raise UsageError(f"{path}: is not empty, and holds no validation", hint=hint)
            path.mkdir(parents=True, exist_ok=True)
            ledger = cls(path, terms)
            if release:
                (path / "release.yaml").write_text(release, encoding="utf-8")
            ledger.save()
            return ledger
        ledger = cls.open(path)
        then = ledger.terms
        budget = then.budget if terms.seconds else terms.budget
        # Whether twins count changes nothing of what is run, so it may be asked anew.
        ledger.terms = then = replace(then, allow_twins=terms.allow_twins)
        now = replace(terms, seed=then.seed if drawn else terms.seed, budget=budget)
        changed = [
            f"{name} was {getattr(then, name)!r} and is {getattr(now, name)!r}"
            for name in Terms.__slots__
            if getattr(then, name) != getattr(now, name)
        ]
        if changed:
            hint = "what was begun goes on with what it was begun with; choose another --out for a new one"
            raise UsageError(f"{path} holds a validation of something else: {'; '.join(changed)}", hint=hint)
        ledger.save()
        return ledger

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Read a validation's folder.

        Raises:
            UsageError: it holds none, or one of another format.
        """
        file = path / _FILE
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            if told["format"] != FORMAT:
                raise UsageError(f"{file}: is of format {told['format']}, this is format {FORMAT}")
            terms = Terms(**told["terms"] | {"arguments": tuple(told["terms"]["arguments"])})
            rounds = [Round(**each | {"side": SideName(each["side"])}) for each in told["rounds"]]
        except FileNotFoundError as error:
            raise UsageError(f"{path}: holds no validation", hint="name the --out of an earlier one") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file}: cannot be read: {error}") from error
        return cls(path, terms, rounds)

    def save(self) -> None:
        """Write down what is known, whole."""
        told: dict[str, Any] = {
            "format": FORMAT,
            "terms": asdict(self.terms),
            "rounds": [asdict(each) for each in self.rounds],
        }
        write_whole(self.path / _FILE, json.dumps(told, indent=2, ensure_ascii=False).encode())

    def fix_budget(self, pairs: int) -> None:
        """What time allows, in pairs: fixed before anything is judged, for the error rates hang on it."""
        self.terms = replace(self.terms, budget=pairs)
        self.save()

    def done(self, ended: Round) -> None:
        """A round ended."""
        self.rounds.append(ended)
        self.save()

    def folder(self, of: Round) -> Path:
        """Where a round lies."""
        return self.path / "rounds" / of.folder

    def results(self, of: Round) -> Path | None:
        """A round's results; None where it had none."""
        found = sorted(folder for folder in self.folder(of).glob("*/results") if not folder.parent.is_symlink())
        return found[0] if found else None

    def clear(self, of: Round) -> Path:
        """An empty folder for a round that begins; what a killed one left there is put aside."""
        folder = self.folder(of)
        if folder.exists():
            number = 1
            while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
                number += 1
            folder.rename(aside)
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else goes on with this validation meanwhile.

        Raises:
            LabError: somebody does already.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise LabError(f"{self.path}: another `interop validate` is at work there") from error
        try:
            yield
        finally:
            lock.release()
