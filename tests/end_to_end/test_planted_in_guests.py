"""Suites bite: each check fails on a guest in which is wrong what it is there to notice, and passes on one that is not.

The other half, that nothing else fails, is told by ``test_planted_defects.py`` for what whole images can have wrong.
By night (``INTEROP_DEFECTS=all``) every defect, in batches that a journal keeps; else a few, drawn by ``INTEROP_SEED``.
"""

import pytest

from tests.end_to_end.defects import ALL
from tests.end_to_end.telling import batches, in_words, tell_apart


@pytest.mark.parametrize("batch", batches(ALL, 5), ids=in_words)
def test_each_check_tells_a_spoilt_guest_from_a_sound_one(run, monkeypatch, image, batch):
    """The defects in one run, each in a guest of its own, and the same checks on guests without any."""
    tell_apart(run, monkeypatch, image, batch)
