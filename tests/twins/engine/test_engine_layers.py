"""What disks hold, through snapshots and clones: checked by qemu-io, without a machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.core import MiB
from harness.twins.engine import Disk, EngineError
from harness.twins.engine.layers import Layer, Layers, image_format

SIZE = 4 * MiB


def write(file: Path, pattern: int) -> None:
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} 0 64k", file], check=True, capture_output=True)


def holds(file: Path, pattern: int) -> bool:
    done = subprocess.run(["qemu-io", "-r", "-c", f"read -P {pattern} 0 64k", file], check=True, capture_output=True)
    return b"Pattern verification failed" not in done.stdout


def keep(file: Path, tag: str) -> None:
    subprocess.run(["qemu-img", "snapshot", "-c", tag, file], check=True)


def virtual_size(file: Path) -> int:
    done = subprocess.run(["qemu-img", "info", "--output=json", file], check=True, capture_output=True, text=True)
    return int(done.stdout.split('"virtual-size": ')[1].split(",")[0])


class Kept(list[Layer]):
    """What snapshots need, as the engine would tell it."""


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def layers(tmp_path: Path, kept: Kept) -> Layers:
    return Layers(tmp_path / "disks", lambda: kept)


@pytest.fixture
def disk() -> Disk:
    return Disk(Path("/one.vmdk"), SIZE)


def test_a_disk_starts_from_what_it_is_given(layers, tmp_path):
    given = tmp_path / "given.raw"
    given.write_bytes(b"\x07" * 65536)
    disk = Disk(Path("/one.vmdk"), SIZE, given)
    top = layers.top(disk)
    assert holds(top, 7)
    assert virtual_size(top) == SIZE
    write(top, 9)
    assert given.read_bytes() == b"\x07" * 65536


@pytest.mark.parametrize(
    ("form", "options"),
    [("qcow2", []), ("vmdk", ["-o", "subformat=streamOptimized"]), ("vhdx", []), ("vpc", []), ("raw", [])],
)
def test_images_of_every_hypervisor_are_told_apart(layers, tmp_path, form, options):
    raw, given = tmp_path / "raw", tmp_path / f"given.{form}"
    raw.write_bytes(b"\x05" * SIZE)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, *options, raw, given], check=True)
    assert image_format(given) == form
    assert holds(layers.top(Disk(Path("/one"), SIZE, given)), 5)


@pytest.mark.parametrize("form", ["vmdk", "vhdx", "vpc"])
def test_no_disk_stands_on_a_format_that_memory_is_not_saved_over(layers, tmp_path, form):
    """QEMU refuses snapshots and suspends while one is anywhere in a chain; one copy serves all disks."""
    raw, given = tmp_path / "raw", tmp_path / f"given.{form}"
    raw.write_bytes(b"\x05" * SIZE)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, raw, given], check=True)
    below = set()
    for name in ("one", "two"):
        top = layers.top(Disk(Path(f"/{name}"), SIZE, given))
        argv = ["qemu-img", "info", "--backing-chain", "--output=json", str(top)]
        chain = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        assert {one["format"] for one in chain} == {"qcow2"}
        below.add(chain[-1]["filename"])
    assert len(below) == 1


def test_a_missing_image_is_named():
    with pytest.raises(EngineError, match=r"/nowhere\.vmdk cannot be read"):
        image_format(Path("/nowhere.vmdk"))


def test_a_disk_snapshot_is_what_was_there(layers, disk, kept):
    write(layers.top(disk), 1)
    moment = layers.freeze(disk)
    kept.append(moment)
    write(layers.top(disk), 2)
    assert holds(layers.top(disk), 2)
    assert holds(layers.content(moment), 1)
    layers.revert(disk, moment)
    assert holds(layers.top(disk), 1)


def test_a_moment_with_memory_lies_within_the_file(layers, disk, kept):
    top = layers.top(disk)
    write(top, 1)
    keep(top, "moment")
    moment = layers.mark(disk, "moment")
    kept.append(moment)
    write(top, 2)
    assert holds(layers.content(moment), 1)
    assert layers.revert(disk, moment).file == top == layers.top(disk)


def test_a_file_that_others_stand_on_is_copied_before_it_is_written_to_again(layers, disk, kept):
    top = layers.top(disk)
    write(top, 1)
    keep(top, "moment")
    moment = layers.mark(disk, "moment")
    write(top, 2)
    later = layers.freeze(disk)
    kept += [moment, later]
    clone = Disk(Path("/clone.vmdk"), SIZE, layers.content(later))
    layers.top(clone)
    again = layers.revert(disk, moment)
    assert again.file != top
    write(layers.top(disk), 3)
    assert holds(layers.top(clone), 2)
    assert holds(layers.content(again), 1)


def test_only_what_nobody_stands_on_is_deleted(layers, disk, kept):
    first = layers.top(disk)
    write(first, 1)
    moment = layers.freeze(disk)
    kept.append(moment)
    clone = Disk(Path("/clone.vmdk"), SIZE, layers.content(moment))
    layers.top(clone)
    layers.top(disk)
    kept.clear()
    layers.forget(disk.path)
    layers.sweep()
    assert holds(layers.top(clone), 1)
    layers.forget(clone.path)
    layers.sweep()
    assert not first.exists()
    layers.forget(clone.path)


def test_a_clone_that_was_never_switched_on_keeps_what_it_starts_from(layers, disk, kept):
    write(layers.top(disk), 1)
    keep(layers.top(disk), "moment")
    moment = layers.mark(disk, "moment")
    kept.append(moment)
    taken = layers.content(moment)
    assert layers.content(moment) == taken
    clone = Disk(Path("/clone.vmdk"), SIZE, taken)
    layers.know(clone)
    kept.clear()
    layers.forget(disk.path)
    layers.sweep()
    assert holds(layers.top(clone), 1)


def test_a_disk_grows_and_keeps_its_content(layers, disk):
    write(layers.top(disk), 1)
    larger = Disk(disk.path, 2 * SIZE)
    assert virtual_size(layers.top(larger)) == 2 * SIZE
    assert holds(layers.top(larger), 1)


def test_an_empty_disk_can_be_cloned(layers, disk):
    nothing = layers.freeze(disk)
    assert nothing.file is None
    assert virtual_size(layers.content(nothing)) == SIZE
