"""Checks hold on other images than the one that all else boots: the next release's, and a disk that was made elsewhere.

By night (``INTEROP_IMAGES=all``): a root file system is installed first, and smoke checks take minutes an image.
"""

import os
import shutil

import pytest

from harness.core import Deadline
from harness.image.model import Format
from harness.image.qemuimg import convert
from harness.image.source import sha256_of
from tests.end_to_end.telling import CALIBRATED, SUITES

PRODUCT = (str(SUITES), "--rootdir", str(SUITES.parent), "--calibration", str(CALIBRATED))
UNSTEADY = {"C07", "T03"}
"""Checks that skip themselves where a loaded machine lets them tell nothing."""
pytestmark = pytest.mark.skipif(
    os.environ.get("INTEROP_IMAGES") != "all", reason="INTEROP_IMAGES=all builds other images, for a night"
)


def test_checks_hold_on_the_next_release(run):
    """Another kernel, systemd and cloud-init: what a check asserts is of the hypervisor, not of one distribution."""
    done = run(*PRODUCT, "-m", "smoke", "--image", "debian13", timeout=3600)
    assert done.status == 0, done.output
    assert done.checks("failed", "broken", "unknown") == set(), done.output
    # No VMBus; an emulated guest's kernel takes no CPU later on, and reads the time by system calls.
    assert done.checks("skipped") - UNSTEADY <= {"I06", "I14", "C09", "C10", "C12", "T16"}, done.output
    assert len(done.checks("passed")) >= 30


def test_a_disk_that_was_made_elsewhere_boots_and_is_known(run, image, tmp_path, monkeypatch):
    """It comes as a file and its hash, in another format; nothing is written into it, and L01 knows it all the same."""
    for place in ("cache", "state"):  # its own, so that no other run looks for its guests where they are no more
        monkeypatch.setenv(f"INTEROP_{place.upper()}", str(tmp_path / place))
    disk, recipe = tmp_path / "vendor.vmdk", tmp_path / "vendor.yaml"
    convert(image.qcow2, disk, Format.VMDK, Deadline.after(600), source_format="qcow2")
    recipe.write_text(f"summary: a vendor's\nsource: {{path: {disk.name}, sha256: {sha256_of(disk)}}}\n")
    done = run(*PRODUCT, "-k", "the_very_image or it_boots", "--image", str(recipe), timeout=1800)
    assert done.status == 0, done.output
    assert done.checks("passed") == {"L01", "L02"}, done.output
    shutil.rmtree(tmp_path / "cache")
