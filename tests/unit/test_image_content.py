"""The name of an image: the sha256 of its disk."""

import hashlib
from pathlib import Path

import pytest

from harness.core import MiB
from harness.image.content import digest_of_raw
from tests.unit.tiny_images import raw_disk


def test_holes_count_as_zeros(tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "disk.raw")
    assert digest_of_raw(disk) == hashlib.sha256(disk.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 4096, 9 * MiB + 17])
def test_a_disk_that_is_one_hole_has_a_name(tmp_path: Path, size: int) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as raw:
        raw.truncate(size)
    assert digest_of_raw(disk) == hashlib.sha256(bytes(size)).hexdigest()


def test_data_at_both_ends_is_read(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as raw:
        raw.write(b"first")
        raw.seek(11 * MiB)
        raw.write(b"last")
    assert digest_of_raw(disk) == hashlib.sha256(disk.read_bytes()).hexdigest()
