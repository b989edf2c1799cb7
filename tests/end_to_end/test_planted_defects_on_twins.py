"""Suites bite in the other columns of the local lab as well."""

import os
import random
from pathlib import Path

import pytest

from harness.image.variant import variant
from tests.end_to_end.defects import IN_GUESTS_OF_TWINS, ON_TWINS
from tests.end_to_end.readers import READERS

SUITES = Path(__file__).resolve().parents[2] / "suites"

CALIBRATED = ("--calibration", str(Path(__file__).with_name("calibrated.yaml")))
SEED = os.environ.get("INTEROP_SEED", "4")

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
    where = (str(SUITES), "--rootdir", str(SUITES.parent), "--image", broken.digest, "-k", words)
    done = run(*where, *CALIBRATED, host=column)
    assert done.checks("failed", "broken") == ON_TWINS.checks, done.output
    assert done.checks("passed") == fine, done.output


def drawn(column):
    """Defects of a column: a few of them by a seed, or, by night, all."""
    found = [defect for defect in IN_GUESTS_OF_TWINS if defect.host == column]
    return found if os.environ.get("INTEROP_DEFECTS") == "all" else random.Random(SEED).sample(found, 2)


@pytest.mark.parametrize(
    ("status", "options"), [("failed", ("-p", "tests.end_to_end.planting")), ("passed", ())], ids=["spoilt", "sound"]
)
@pytest.mark.parametrize("column", ["vsphere", "hyperv"])
def test_each_check_tells_a_spoilt_guest_of_a_twin_from_a_sound_one(run, monkeypatch, column, status, options):
    """Each defect in a guest of its own; then the same checks on guests without any."""
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))
    defects = drawn(column)
    words = " or ".join(f"({defect.test})" for defect in defects)
    where = (str(SUITES), "--rootdir", str(SUITES.parent), "-k", words)
    done = run(*where, *CALIBRATED, *options, host=column, timeout=3600)
    assert {how["status"] for how in done.results} == {status}, done.output
    assert done.checks(status) == {defect.check for defect in defects}, done.output
