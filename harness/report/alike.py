"""Results that may stand on one page: those of one version of the harness, which knows checks by one kind of digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.core import UsageError
from harness.report.cells import RunCells

UNKNOWN = "a version that did not say so"
_HINT = "give a lab's controllers one version; render these apart, and `interop compare` holds them against each other"


def refuse_mixed(runs: Iterable[RunCells]) -> None:
    """See that runs which are to make one page were written by one version of the harness.

    Args:
        runs: all of them.

    Raises:
        UsageError: they are of several versions, or know their checks by several kinds of digest; names them.
    """
    read = list(runs)
    refuse({str(run.results): run.harness for run in read}, "results of several versions of the harness")
    schemes = {str(run.results): " / ".join(sorted(_schemes(run))) for run in read}
    refuse(
        {where: f"digests of kind {scheme}" for where, scheme in schemes.items() if scheme},
        "results that know their checks by several kinds of digest",
    )


def refuse(said: Mapping[str, str], what: str) -> None:
    """See that everybody says the same, in one word.

    Args:
        said: who says what; an empty word is of a version that did not say.
        what: the trouble, where they do not.

    Raises:
        UsageError: they differ, or one is of several; says who says what.
    """
    told = {who: word or UNKNOWN for who, word in said.items()}
    if len(set(told.values())) > 1 or any(" / " in word for word in told.values()):
        each = "; ".join(f"{word} in {who}" for who, word in told.items())
        raise UsageError(f"{what}: {each}", hint=_HINT)


def _schemes(run: RunCells) -> set[str]:
    return {cell.source.partition(":")[0] for cell in run.cells if cell.source}
