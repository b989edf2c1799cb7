"""Suites bite in the other columns of the local lab as well."""

from pathlib import Path

import pytest

from harness.image.variant import variant
from tests.end_to_end.defects import ON_TWINS
from tests.end_to_end.readers import READERS

SUITES = Path(__file__).resolve().parents[2] / "suites"

# One that asks the host costs no boot more.
CHECKS = (*READERS, "test_the_host_hears_the_guests_heartbeat")


@pytest.mark.parametrize(
    ("column", "service", "fine"),
    [
        ("vsphere", "open-vm-tools.service", {"I01", "I02", "L01", "L13"}),
        (
            "hyperv",
            "hv-kvp-daemon.service",
            {"I01", "L01", "L13"},
        ),  # no hv_* driver is bound on the twin: I02 is skipped
    ],
)
def test_defects_are_caught_on_twins_as_well(run, image, column, service, fine):
    """A CPU that stays off, a foreign clocksource and a service that is masked: four checks fail, and no other."""
    broken = variant(image, kernel_arguments=ON_TWINS.kernel_arguments, masked_units=[service])
    words = " or ".join(f"({name})" for name in CHECKS)
    own = ("--calibration", str(Path(__file__).with_name("calibrated.yaml")))
    done = run(str(SUITES), "--rootdir", str(SUITES.parent), "--image", broken.digest, "-k", words, *own, host=column)
    assert done.checks("failed", "broken") == ON_TWINS.checks, done.output
    assert done.checks("passed") == fine, done.output
