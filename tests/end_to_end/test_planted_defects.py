"""Suites bite: a guest with a defect fails exactly the checks that look for it, and no other.

Defects are planted in the image that the guest boots, never in the harness.
"""

import pytest

from harness.image.variant import variant
from tests.end_to_end.defects import IN_IMAGES
from tests.end_to_end.readers import READERS
from tests.end_to_end.telling import CALIBRATED, EVERY, SUITES, draw

ALONE = [defect for defect in IN_IMAGES if defect.tests]
"""Those whose checks make guests of their own: one of them by day, all by night."""
_DRAWN_ALONE = ALONE if EVERY else draw(ALONE, 1, lambda defect: defect.words)
DRAWN = [defect for defect in IN_IMAGES if not defect.tests or defect in _DRAWN_ALONE]


def select(run, image, *names: str):
    words = " or ".join(f"({name})" for name in names)
    own = ("--calibration", str(CALIBRATED))
    return run(str(SUITES), "--rootdir", str(SUITES.parent), "--image", image.digest, "-k", words, *own)


def test_a_guest_without_defects_passes(run, image):
    """The control: nothing fails that was not broken."""
    done = select(run, image, *READERS)
    assert done.checks("failed", "broken") == set(), done.output
    assert done.checks("passed") >= {"C01", "C06", "I01", "I02", "T01", "L01", "L13"}


@pytest.mark.parametrize("defect", DRAWN, ids=lambda defect: "-".join(sorted(defect.checks)))
def test_a_defect_of_the_image_fails_exactly_the_checks_that_share_its_cause(run, image, defect):
    """Whoever looks at what is broken notices; nobody else does."""
    broken = variant(image, defect.files, kernel_arguments=defect.kernel_arguments)
    done = select(run, broken, *(defect.tests or READERS))
    assert done.checks("failed", "broken") == defect.checks, done.output


@pytest.mark.parametrize("words", ["--image nosuch", "--image deadbeefdeadbeef"])
def test_an_image_that_is_not_there_is_said_once(run, words):
    """Bad input is one message; no guest is started for it."""
    done = run(*words.split(), str(SUITES), "--rootdir", str(SUITES.parent), "-k", "test_the_clocksource_is")
    assert done.status != pytest.ExitCode.OK
    assert not done.checks("passed", "failed")
