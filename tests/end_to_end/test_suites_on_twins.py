"""The shipped suites on guests that nothing is wrong with: in the columns of twins they pass, or say why not.

By night (``INTEROP_DEFECTS=all``) and in `make run` all of them in each column; else one in each, drawn by
``INTEROP_SEED``.
"""

from collections.abc import Sequence

import pytest

from tests.end_to_end.telling import EVERY, SUITES, draw

BY_LETTER = {"C": "vcpu", "I": "integration", "L": "lifecycle", "N": "network", "T": "clock"}
"""The suite that checks of a letter are in."""
DRAWN = draw(list(BY_LETTER), len(BY_LETTER), str)
UNSTEADY = {"C07", "T03"}
"""Checks that skip themselves where a loaded machine lets them tell nothing: their reason says so."""


@pytest.mark.parametrize(
    ("column", "letters", "left_out"),
    [
        # vCPUs do not go, no VMBus, a console in a file cannot be typed into, nothing pauses
        ("vsphere", DRAWN if EVERY else DRAWN[:1], {"C10", "I06", "I14", "I29", "L05", "T09"}),
        # vCPUs neither come nor go and none is announced, no hv_* driver on a twin, no NIC comes in generation 1, time
        # calls enter the kernel
        (
            "hyperv",
            DRAWN if EVERY else DRAWN[1:2],
            {"C09", "C10", "C12", "I02", "I06", "I14", "N01", "N03", "T16"},
        ),
    ],
    ids=["vsphere", "hyperv"],
)
def test_smoke_checks_pass_on_twins_or_say_why_not(run, column: str, letters: Sequence[str], left_out: set[str]):
    """What a column cannot do is skipped with its reason, and it is as little as is known."""
    suites = [str(SUITES / BY_LETTER[letter]) for letter in letters]
    done = run(*suites, "--rootdir", str(SUITES.parent), "-m", "smoke", host=column, timeout=1500)
    assert done.status == 0, done.output
    assert done.checks("failed", "broken", "unknown") == set(), done.output
    skipped = [one for one in done.results if one["status"] == "skipped"]
    of_these = {number for number in left_out if number[0] in letters}
    assert of_these <= {done.number(one) for one in skipped} <= of_these | UNSTEADY, done.output
    assert all(one["statusDetails"]["message"].strip() for one in skipped)
    passed = done.checks("passed")
    assert {number[0] for number in passed} == set(letters)
    assert len(passed) >= 5 * len(letters)


def test_each_suite_is_one_that_is_drawn():
    """A suite that comes new is of a letter, too."""
    assert {folder.name for folder in SUITES.iterdir() if any(folder.glob("test_*.py"))} == set(BY_LETTER.values())
