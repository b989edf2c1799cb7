"""Suites bite in the other columns of the local lab as well."""

import pytest

from harness.image.variant import variant
from tests.end_to_end.defects import IN_GUESTS_OF_TWINS, ON_TWINS
from tests.end_to_end.readers import READERS
from tests.end_to_end.telling import CALIBRATED, EVERY, SUITES, batches, draw, in_words, tell_apart

# One that asks the host costs no boot more.
CHECKS = (*READERS, "test_the_host_hears_the_guests_heartbeat")


COLUMNS = [
    ("vsphere", "open-vm-tools.service", {"I01", "I02", "L01", "L13"}),
    ("hyperv", "hv-kvp-daemon.service", {"I01", "L01", "L13"}),  # no hv_* driver is bound on the twin: I02 is skipped
]


@pytest.mark.parametrize(("column", "service", "fine"), COLUMNS if EVERY else draw(COLUMNS, 1, lambda one: one[0]))
def test_defects_are_caught_on_twins_as_well(run, image, column, service, fine):
    """A CPU that stays off, a foreign clocksource and a service that is masked: four checks fail, and no other.

    By day on one of the twins, drawn by the seed.
    """
    broken = variant(image, kernel_arguments=ON_TWINS.kernel_arguments, masked_units=[service])
    words = " or ".join(f"({name})" for name in CHECKS)
    own = ("--calibration", str(CALIBRATED))
    done = run(str(SUITES), "--rootdir", str(SUITES.parent), "--image", broken.digest, "-k", words, *own, host=column)
    assert done.checks("failed", "broken") == ON_TWINS.checks, done.output
    assert done.checks("passed") == fine, done.output


BATCHES = [
    batch
    for column in ("vsphere", "hyperv")
    for batch in batches([defect for defect in IN_GUESTS_OF_TWINS if defect.host == column], 1)
]


@pytest.mark.parametrize("batch", BATCHES, ids=in_words)
def test_each_check_tells_a_spoilt_guest_of_a_twin_from_a_sound_one(run, monkeypatch, image, batch):
    """Each defect in a guest of its own, and the same checks on guests without any."""
    tell_apart(run, monkeypatch, image, batch)
