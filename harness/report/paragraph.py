"""A run in one paragraph, for a mail or a chat: what came out first, then what to look at, then where."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.standing import span
from harness.report.summary import Outcome, Verdict

_NAMED = 5
_LONGEST = 120
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_GOOD = (Verdict.PASSED, Verdict.SKIPPED, Verdict.KNOWN)
_WORDS = {
    Verdict.GUEST: "failed with the guest",
    Verdict.LAB: "failed with the lab",
    Verdict.ERROR: "broke",
    Verdict.KNOWN: "failed as known",
    Verdict.FLAKY: "passed only when tried again",
    Verdict.AWAY: "left out because their host was gone",
}


@dataclass(frozen=True, slots=True)
class About:
    """What the paragraph says besides outcomes.

    Args:
        lab: the lab's name.
        run: the run's id; empty: none began.
        image: what guests were booted from.
        release: what was installed first; empty: nothing.
        harness: its version.
        total: how many tests there were; more than ended, where the run was stopped.
        seconds: how long it took.
        where: where its results are.
    """

    lab: str
    run: str = ""
    image: str = ""
    release: str = ""
    harness: str = ""
    total: int = 0
    seconds: float = 0.0
    where: str = ""


def paragraph(outcomes: Sequence[Outcome], about: About) -> str:
    """The paragraph: one line of plain text.

    Args:
        outcomes: of every test of ours that ended.
        about: the run.
    """
    counts = Counter(outcome.status for outcome in outcomes)
    bad = [outcome for outcome in outcomes if outcome.status not in _GOOD]
    said = [f"interop, lab {about.lab}: {_head(counts, bad, about)}."]
    named = list(dict.fromkeys(_named(outcome) for outcome in bad))  # of a host that is gone there is one thing to say
    if named:
        more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        said.append(f"Look at {'; '.join(named[:_NAMED])}{more}.")
    warned = sum(outcome.warned for outcome in outcomes)
    said += [f"{warned} passed beyond a limit that only warns."] if warned else []
    ran = [f"image {about.image}"] if about.image else []
    ran += [f"release {about.release}"] if about.release else []
    ran += [f"harness {about.harness}"] if about.harness else []
    if about.run:
        of = f" of {', '.join(ran)}" if ran else ""
        said.append(f"Run {about.run}{of}: {about.where}")
    return " ".join(said)


def _head(counts: Counter[Verdict], bad: Sequence[Outcome], about: About) -> str:
    ended = sum(counts.values())
    if not ended:
        return "nothing ran"
    told = ", ".join(f"{count} {_WORDS.get(status, status.value)}" for status, count in counts.most_common())
    stopped = f"stopped after {ended} of {about.total} tests" if about.total > ended else f"{ended} tests"
    first = f"{len(bad)} of {ended} need a look" if bad else "all is well"
    return f"{first}; {stopped} in {span(about.seconds)}: {told}"


def _named(outcome: Outcome) -> str:
    of = "" if outcome.status is Verdict.AWAY else f"{outcome.label} on "
    where = f"{of}{outcome.host or outcome.pool}{' (twin)' if outcome.twin else ''}"
    reason = " ".join(_CONTROL.sub(" ", outcome.reason).split())
    reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."
    return f"{where} ({outcome.status.value}{f': {reason}' if reason else ''})"
