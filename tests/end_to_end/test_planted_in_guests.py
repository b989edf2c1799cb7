"""Suites bite: each check fails on a guest in which is wrong what it is there to notice, and passes on one that is not.

The other half, that nothing else fails, is told by ``test_planted_defects.py`` for what whole images can have wrong.
By night (``INTEROP_DEFECTS=all``) every defect, in batches that a journal keeps; else a few, drawn by ``INTEROP_SEED``.
"""

import os
import random
from pathlib import Path

import pytest

from tests.end_to_end.defects import ALL, Defect
from tests.end_to_end.night import PLANTED, PRODUCT, Night

SUITES = Path(__file__).resolve().parents[2] / "suites"
CALIBRATED = Path(__file__).with_name("calibrated.yaml")
SEED = os.environ.get("INTEROP_SEED", "4")
"""Which of the defects are drawn; whoever sets another number in the environment draws others."""
UNSTEADY = {"T03", "T07"}
"""Checks of clocks that skip themselves where a loaded machine lets them tell nothing: their reason says so."""
EVERY = os.environ.get("INTEROP_DEFECTS") == "all"
DRAWN = ALL if EVERY else tuple(random.Random(SEED).sample(ALL, 10))
SIZE = 8 if EVERY else len(DRAWN)
BATCHES = [DRAWN[begin : begin + SIZE] for begin in range(0, len(DRAWN), SIZE)]


def name_of(defect: Defect) -> str:
    """How results of the check that must catch it begin."""
    return f"{defect.check} {defect.test.removeprefix('test_').replace('_', ' ')}"


def statuses(run, defects: tuple[Defect, ...], *options: str) -> tuple[dict[Defect, set[str]], str]:
    """What the checks of these defects come to, and what the run said."""
    words = " or ".join(sorted({f"({defect.test})" for defect in defects}))
    own = ("--calibration", str(CALIBRATED))
    done = run(str(SUITES), "--rootdir", str(SUITES.parent), "-k", words, *own, *options, timeout=7200)
    found = {
        defect: {result["status"] for result in done.results if result["name"].split(" (")[0] == name_of(defect)}
        for defect in defects
    }
    assert sum(map(len, found.values())) >= len(defects), done.output
    return found, done.output


def untold(defect: Defect, found: dict[Defect, set[str]]) -> bool:
    """Whether the check skipped itself, as it may where the machine is loaded."""
    return defect.check in UNSTEADY and found[defect] == {"skipped"}


@pytest.mark.parametrize(
    "batch",
    BATCHES,
    ids=[f"{len(DRAWN)} of {len(ALL)} with seed {SEED}, batch {number}" for number in range(1, len(BATCHES) + 1)],
)
def test_each_check_tells_a_spoilt_guest_from_a_sound_one(run, monkeypatch, image, batch):
    """The defects in one run, each in a guest of its own; then the same checks on guests without any."""
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))
    night = Night.of(*PRODUCT, *PLANTED, about=image.digest)
    todo = tuple(defect for defect in batch if not (EVERY and night.all_of(f"planted {name_of(defect)}")))
    if not todo:
        pytest.skip(f"shown before, by the same code and image: {night.file}")
    spoilt, said = statuses(run, todo, "-p", "tests.end_to_end.planting")
    sound, said_then = statuses(run, todo)
    for defect in todo:
        if EVERY and spoilt[defect] == {"failed"} and sound[defect] == {"passed"}:
            night.note(f"planted {name_of(defect)}")
    unseen = [name_of(defect) for defect in todo if spoilt[defect] != {"failed"} and not untold(defect, spoilt)]
    assert not unseen, f"not caught: {unseen}\n{said}"
    wrong = [name_of(defect) for defect in todo if sound[defect] != {"passed"} and not untold(defect, sound)]
    assert not wrong, f"not passed on sound guests: {wrong}\n{said_then}"
