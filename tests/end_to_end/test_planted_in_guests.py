"""Suites bite: each check fails on a guest in which is wrong what it is there to notice, and passes on one that is not.

The other half, that nothing else fails, is told by ``test_planted_defects.py`` for what whole images can have wrong.
"""

from pathlib import Path

import pytest

from tests.end_to_end.defects import ALL

SUITES = Path(__file__).resolve().parents[2] / "suites"
WORDS = " or ".join(sorted({f"({defect.test})" for defect in ALL}))


@pytest.mark.parametrize(
    ("status", "options"), [("failed", ("-p", "tests.end_to_end.planting")), ("passed", ())], ids=["spoilt", "sound"]
)
def test_each_check_tells_a_spoilt_guest_from_a_sound_one(run, monkeypatch, status, options):
    """All defects in one run, each in a guest of its own; then the same checks on guests without any."""
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))
    done = run(str(SUITES), "--rootdir", str(SUITES.parent), "-k", WORDS, *options, timeout=1800)
    found = {(done.number(one), one["status"]) for one in done.results}
    assert found == {(defect.check, status) for defect in ALL}, done.output
