"""A small file system of the host, made to run full; nothing else of the host is ever filled."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.backends.capabilities import Capability
from harness.backends.kvm.abilities import abilities
from harness.backends.kvm.scarce import Scarce
from harness.backends.kvm.settings import Settings
from harness.backends.model import Shape
from harness.backends.protocol import Refused
from harness.core import Deadline, LabError
from harness.core.process import run
from tests.unit.test_kvm_description import EMBEDDED

ONE, OTHER = "11111111-aaaa", "22222222-bbbb"


@pytest.fixture
def small(tmp_path):
    """A file system of 4 MiB."""
    try:
        run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", tmp_path], Deadline.after(30))
    except LabError as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    yield Scarce(tmp_path, "host")
    run(["umount", tmp_path], Deadline.after(30))


def test_it_runs_full_to_the_last_block_and_has_room_again(small, tmp_path):
    room = os.statvfs(tmp_path).f_bavail
    small.check()
    small.fill(ONE)
    assert os.statvfs(tmp_path).f_bavail == 0
    small.free(ONE)
    small.free(ONE)
    assert os.statvfs(tmp_path).f_bavail == room


def test_a_machines_disks_go_with_it_and_those_of_others_stay(small):
    mine, other = small.new_disk(ONE, "data"), small.new_disk(OTHER, "data")
    mine.touch()
    other.touch()
    small.fill(ONE)
    assert list(small.disks(ONE)) == [mine]
    small.clear(ONE)
    assert (list(small.disks(ONE)), list(small.disks(OTHER))) == ([], [other])
    assert os.statvfs(other.parent).f_bavail > 0


@pytest.mark.parametrize(
    ("folder", "words"),
    [("", "is no mount point"), ("missing", "No such file"), ("/dev", r"it has [\d.]+ GiB")],
)
def test_what_is_not_made_to_run_full_is_never_filled(tmp_path, folder, words):
    where = tmp_path / folder
    with pytest.raises(LabError, match=words):
        Scarce(where, "host").fill(ONE)
    assert not (where / f"{ONE}.ballast").exists()


def test_a_serial_is_no_way_out_of_the_folder(tmp_path):
    with pytest.raises(Refused):
        Scarce(tmp_path, "host").new_disk(ONE, "../up")


def test_only_an_embedded_host_has_its_disk_within_reach():
    assert Settings(scarce=Path("/mnt/scarce")).scarce == Path("/mnt/scarce")
    with pytest.raises(ValidationError, match="only qemu:///embed"):
        Settings(uri="qemu:///system", scarce=Path("/mnt/scarce"))


@pytest.mark.parametrize("scarce", [True, False])
def test_a_host_can_show_a_full_disk_where_its_lab_lets_it(scarce):
    assert (Capability.FULL_DISK in abilities(Shape(), replace(EMBEDDED, scarce=scarce))) is scarce
