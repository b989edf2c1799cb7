"""Variants: files changed inside an image that nobody mounts."""

from pathlib import Path

import pytest

from harness.core import LabError, UsageError
from harness.core.process import need, run
from harness.image import qemuimg
from harness.image.content import digest_of_raw
from harness.image.model import Image
from harness.image.partitions import root_of
from harness.image.store import Store
from harness.image.variant import variant
from tests.unit.tiny_images import linux_image, raw_disk, recipe_for, soon


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def image(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return linux_image(store, tmp_path_factory.mktemp("linux"))


def asked(image: Image, command: str, tmp_path: Path) -> str:
    raw = tmp_path / "asked.raw"
    qemuimg.convert(image.qcow2, raw, None, soon(), source_format="qcow2")
    return run([need("debugfs", "e2fsprogs"), "-R", command, f"{raw}?offset={root_of(raw).offset}"], soon()).decode()


def test_a_new_file_appears_with_its_folders(image: Image, store: Store, tmp_path: Path) -> None:
    child = variant(image, {"/etc/modprobe.d/defect.conf": b"blacklist virtio_net\n"}, store=store)
    assert asked(child, "cat /etc/modprobe.d/defect.conf", tmp_path) == "blacklist virtio_net\n"
    assert asked(child, "cat /etc/hostname", tmp_path) == "tiny\n"


def test_a_file_is_replaced_and_another_removed(image: Image, store: Store, tmp_path: Path) -> None:
    child = variant(image, {"/etc/hostname": b"other\n"}, removed=["/boot/vmlinuz-1"], store=store)
    assert asked(child, "cat /etc/hostname", tmp_path) == "other\n"
    assert "vmlinuz-1" not in asked(child, "ls /boot", tmp_path)


def test_kernel_arguments_reach_the_boot_loader(image: Image, store: Store, tmp_path: Path) -> None:
    child = variant(image, kernel_arguments="maxcpus=1", store=store)
    assert asked(child, "cat /boot/grub/extra.cfg", tmp_path) == "set extra='maxcpus=1'\n"


def test_a_masked_unit_is_a_link_to_nothing(image: Image, store: Store, tmp_path: Path) -> None:
    child = variant(image, masked_units=["ssh.service"], store=store)
    assert 'Fast link dest: "/dev/null"' in asked(child, "stat /etc/systemd/system/ssh.service", tmp_path)


def test_the_digest_is_that_of_the_new_disk(image: Image, store: Store, tmp_path: Path) -> None:
    child = variant(image, {"/etc/x": b"x"}, store=store)
    raw = tmp_path / "child.raw"
    qemuimg.convert(child.qcow2, raw, None, soon(), source_format="qcow2")
    assert child.digest == digest_of_raw(raw) != image.digest


def test_the_same_changes_are_made_once(image: Image, store: Store) -> None:
    one, two = (variant(image, {"/etc/x": b"x"}, store=store) for _ in range(2))
    assert one == two
    assert variant(image, {"/etc/x": b"y"}, store=store) != one


def test_the_original_stays_as_it_was(image: Image, store: Store) -> None:
    variant(image, {"/etc/hostname": b"other\n"}, store=store)
    assert store.verify(image)


@pytest.mark.parametrize("path", ["etc/x", "/etc/../x", "/etc/a b", '/etc/"x', "/etc/x\nrm /etc/hostname"])
def test_a_path_that_would_need_quoting_is_refused(image: Image, store: Store, path: str) -> None:
    with pytest.raises(UsageError, match="cannot be changed in an image"):
        variant(image, {path: b""}, store=store)


@pytest.mark.parametrize("arguments", ["a'b", "$(x)", "a;b", "a\nb"])
def test_arguments_that_grub_would_read_as_script_are_refused(image: Image, store: Store, arguments: str) -> None:
    with pytest.raises(UsageError, match="cannot become kernel arguments"):
        variant(image, kernel_arguments=arguments, store=store)


def test_a_disk_without_partitions_has_no_variants(store: Store, tmp_path: Path) -> None:
    plain = store.build(recipe_for(raw_disk(tmp_path / "disk.raw"))).image
    with pytest.raises(LabError, match="no GUID partition table"):
        variant(plain, {"/etc/x": b"x"}, store=store)
