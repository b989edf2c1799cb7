"""Suites bite: each check fails on a guest in which is wrong what it is there to notice, and passes on one that is not.

The other half, that nothing else fails, is told by ``test_planted_defects.py`` for what whole images can have wrong.
"""

import os
import random
from pathlib import Path

import pytest

from tests.end_to_end.defects import ALL

SUITES = Path(__file__).resolve().parents[2] / "suites"
SEED = os.environ.get("INTEROP_SEED", "4")
"""Which of the defects are drawn; whoever sets another number in the environment draws others."""
UNSTEADY = {"T03", "T07"}
"""Checks of clocks that skip themselves where a loaded machine lets them tell nothing: their reason says so."""
DRAWN = ALL if os.environ.get("INTEROP_DEFECTS") == "all" else random.Random(SEED).sample(ALL, 10)
WORDS = " or ".join(sorted({f"({defect.test})" for defect in DRAWN}))


@pytest.mark.parametrize(
    ("status", "options"),
    [("failed", ("-p", "tests.end_to_end.planting")), ("passed", ())],
    ids=[f"{len(DRAWN)} of {len(ALL)} with seed {SEED}, {kind}" for kind in ("spoilt", "sound")],
)
def test_each_check_tells_a_spoilt_guest_from_a_sound_one(run, monkeypatch, status, options):
    """The drawn defects in one run, each in a guest of its own; then the same checks on guests without any."""
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))
    done = run(str(SUITES), "--rootdir", str(SUITES.parent), "-k", WORDS, *options, timeout=7200)
    found = {(one["name"], one["status"]) for one in done.results}
    assert len(found) >= len(DRAWN), done.output
    untold = done.checks("skipped") & UNSTEADY
    assert {one["status"] for one in done.results if done.number(one) not in untold} == {status}, done.output
    assert done.checks(status) == {defect.check for defect in DRAWN} - untold, done.output
