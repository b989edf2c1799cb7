"""The disk that boots by BIOS and by UEFI, looked at with the tools of others."""

import struct
from pathlib import Path

import pytest

from harness.core.process import need, run
from harness.image.disk import Layout
from harness.image.partitions import partitions, root_of
from tests.unit.tiny_images import linux_disk, soon


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linux_disk(tmp_path_factory.mktemp("disk"))


def test_the_partition_table_has_no_fault(disk: Path) -> None:
    said = run([need("sgdisk", "gdisk"), "--verify", disk], soon())
    assert b"No problems found" in said
    assert len(partitions(disk)) == 3


def test_the_root_file_system_holds_the_files_and_is_clean(disk: Path) -> None:
    device = f"{disk}?offset={root_of(disk).offset}"
    run([need("e2fsck", "e2fsprogs"), "-fn", device], soon())
    assert run([need("debugfs", "e2fsprogs"), "-R", "cat /etc/hostname", device], soon()) == b"tiny\n"


def test_files_belong_to_root_whoever_built(disk: Path) -> None:
    told = run(
        [need("debugfs", "e2fsprogs"), "-R", "stat /etc/hostname", f"{disk}?offset={root_of(disk).offset}"], soon()
    )
    assert b"User:     0   Group:     0" in told


def test_the_boot_sector_points_at_grubs_core_image(disk: Path) -> None:
    """boot.img holds the sector of core.img at 0x5c; core.img's own list continues one sector further."""
    raw = disk.read_bytes()
    (sector,) = struct.unpack_from("<Q", raw, 0x5C)
    following, length, segment = struct.unpack_from("<QHH", raw, sector * 512 + 0x1F4)
    assert sector * 512 == partitions(disk)[0].offset
    assert (following, segment) == (sector + 1, 0x820)
    assert raw[510:512] == b"\x55\xaa"
    assert any(raw[(sector + length) * 512 : (sector + length + 1) * 512])
    assert not any(raw[(sector + length + 1) * 512 : (sector + length + 2) * 512])


def test_firmware_finds_a_loader_at_the_default_path(disk: Path) -> None:
    esp = f"{disk}@@{partitions(disk)[1].offset}"
    listed = run(["mdir", "-i", esp, "-b", "::/EFI/BOOT"], soon())
    assert b"BOOTX64.EFI" in listed


def test_the_same_input_gives_the_same_loaders_and_names(tmp_path: Path, disk: Path) -> None:
    again = linux_disk(tmp_path)
    end = partitions(disk)[2].offset
    with disk.open("rb") as one, again.open("rb") as two:
        assert one.read(end) == two.read(end)


def test_identifiers_depend_on_the_build_id_alone() -> None:
    assert Layout("a" * 32).root == Layout("a" * 32).root
    assert Layout("a" * 32).root != Layout("b" * 32).root
