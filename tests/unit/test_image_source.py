"""A lab's own images: what is accepted, and how what is not is refused."""

import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest

from harness.core import LabError, UsageError
from harness.core.process import run
from harness.image.content import digest_of_file, digest_of_raw
from harness.image.filesystems import file_systems
from harness.image.model import Format
from harness.image.partitions import root_of
from harness.image.recipe import NamedRecipe, Recipe, SourceFile
from harness.image.source import DIFFERENT_BITS
from harness.image.store import Store
from tests.unit.tiny_images import linux_image, raw_disk, recipe_for, soon


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return raw_disk(tmp_path / "disk.raw")


def refused(store: Store, path: Path, **given: str) -> str:
    with pytest.raises(UsageError) as caught:
        store.build(recipe_for(path, **given))
    assert store.entries() == []
    assert list((store.root / "tmp").iterdir()) == []
    return str(caught.value)


def test_a_wrong_hash_names_both(store: Store, disk: Path) -> None:
    message = refused(store, disk, sha256="0" * 64)
    assert "0" * 64 in message
    assert digest_of_file(disk) in message


def test_a_text_file_is_no_disk(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "disk.qcow2"
    page.write_text("<html>404</html>" * 100)
    assert "is no disk image" in refused(store, page)


def test_a_truncated_qcow2_is_refused(store: Store, disk: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.qcow2"
    run(["qemu-img", "convert", "-O", "qcow2", disk, whole], soon())
    short = tmp_path / "short.qcow2"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "damaged or truncated" in refused(store, short)


def test_an_overlay_without_its_base_is_refused(store: Store, disk: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", overlay], soon())
    assert "needs the backing file" in refused(store, overlay)


def test_a_missing_file_is_named(store: Store, disk: Path) -> None:
    recipe = recipe_for(disk)
    disk.unlink()
    with pytest.raises(UsageError, match=r"disk\.raw is not there"):
        store.build(recipe)


@pytest.mark.parametrize("form", ["vhdx", "vmdk", "qcow2"])
def test_other_formats_are_converted(store: Store, disk: Path, tmp_path: Path, form: str) -> None:
    given = tmp_path / f"given.{form}"
    run(["qemu-img", "convert", "-O", form, disk, given], soon())
    assert store.build(recipe_for(given)).image.digest == digest_of_raw(disk)


def test_one_file_a_hypervisor_is_labelled(store: Store, disk: Path, tmp_path: Path) -> None:
    other = raw_disk(tmp_path / "other.raw", fill=b"changed")
    sources = {"kvm": disk, "hyperv": other}
    recipe = Recipe(
        summary="two files",
        sources={key: SourceFile(path=path, sha256=digest_of_file(path)) for key, path in sources.items()},
    )
    image = store.build(NamedRecipe(name="two", recipe=recipe, folder=tmp_path)).image
    assert set(image.files) == {Format.QCOW2, Format.VHDX}
    assert image.labels["bits"] == DIFFERENT_BITS
    assert any(DIFFERENT_BITS in line for line in store.verify(image))


def formatted(disk: Path, *argv: str | Path) -> Path:
    """The disk with a file system on it, made by its own tool."""
    run([*argv, disk], soon())
    return disk


ROOT = "0f0c2ab4-31b5-4a5e-8d0e-6a3c52f1d7aa"


def test_an_image_made_elsewhere_is_known_by_its_file_systems(store: Store, tmp_path: Path) -> None:
    """It carries no build id of ours: a guest that booted another disk has another root."""
    image = linux_image(store, tmp_path / "linux")
    raw = tmp_path / "disk.raw"
    run(["qemu-img", "convert", "-O", "raw", image.qcow2, raw], soon())
    told = run(["blkid", "--probe", "--offset", str(root_of(raw).offset), "-s", "UUID", "-o", "value", raw], soon())
    assert image.file_systems == (told.decode().strip(),)
    assert store.find(image.name).image.file_systems == image.file_systems


def test_a_file_system_is_found_on_a_disk_without_partitions(tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "disk.raw")
    assert file_systems(disk) == ()
    assert file_systems(formatted(disk, "mke2fs", "-q", "-F", "-U", ROOT)) == (ROOT,)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_file_system_is_found_in_a_partition_of_an_mbr(kind: str, tmp_path: Path) -> None:
    """SLES has its root on btrfs, RHEL on XFS; their words and UUIDs lie where the kernel's headers say."""
    start, at = 1 << 20, {"ext4": (0x438, b"\x53\xef", 0x468), "xfs": (0, b"XFSB", 32)}
    magic_at, magic, uuid_at = at.get(kind, (0x10040, b"_BHRfS_M", 0x10020))
    disk = raw_disk(tmp_path / "disk.raw")
    with disk.open("r+b") as raw:
        raw.seek(446)
        raw.write(struct.pack("<B3xB3xII", 0x80, 0x83, start // 512, 4096))
        raw.seek(start + uuid_at)
        raw.write(UUID(ROOT).bytes)
        raw.seek(start + magic_at)
        raw.write(magic)
    assert file_systems(disk) == (ROOT,)


def test_of_one_file_a_hypervisor_each_has_its_mark(store: Store, tmp_path: Path) -> None:
    uuids = {"kvm": ROOT, "vsphere": ROOT.replace("0f", "1f", 1)}
    disks = {
        key: formatted(raw_disk(tmp_path / f"{key}.raw"), "mke2fs", "-q", "-F", "-U", uuid)
        for key, uuid in uuids.items()
    }
    for disk in disks.values():
        with disk.open("r+b") as raw:  # mke2fs leaves no boot sector, without which nothing is taken for a raw disk
            raw.seek(510)
            raw.write(b"\x55\xaa")
    sources = {key: SourceFile(path=disk, sha256=digest_of_file(disk)) for key, disk in disks.items()}
    named = NamedRecipe(name="two", recipe=Recipe(summary="two files", sources=sources), folder=tmp_path)  # type: ignore[arg-type]
    assert set(store.build(named).image.file_systems) == set(uuids.values())


class _Cut(SimpleHTTPRequestHandler):
    """Serves a folder quietly; what is called cut.* ends in the middle."""

    def log_message(self, *_: object) -> None:
        pass

    def copyfile(self, source, outputfile) -> None:
        data = source.read()
        outputfile.write(data[: len(data) // 2] if "cut." in self.path else data)


@pytest.fixture
def server(tmp_path: Path):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Cut, directory=str(tmp_path))) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def downloaded(url: str, sha256: str) -> NamedRecipe:
    recipe = Recipe(summary="from the net", source=SourceFile(url=url, sha256=sha256))
    return NamedRecipe(name="net", recipe=recipe, folder=Path())


def test_a_disk_is_downloaded(store: Store, disk: Path, server: str) -> None:
    image = store.build(downloaded(f"{server}/{disk.name}", digest_of_file(disk))).image
    assert image.digest == digest_of_raw(disk)


def test_a_download_that_breaks_off_says_where(store: Store, tmp_path: Path, server: str) -> None:
    cut = raw_disk(tmp_path / "cut.raw")
    with pytest.raises(LabError, match=r"broke off after 4194304 of 8388608 bytes"):
        store.build(downloaded(f"{server}/{cut.name}", digest_of_file(cut)))
    assert store.entries() == []


def test_a_missing_page_is_the_labs_fault(store: Store, server: str) -> None:
    with pytest.raises(LabError, match="404"):
        store.build(downloaded(f"{server}/nothing.qcow2", "0" * 64))


def test_a_server_that_is_not_there_is_the_labs_fault(store: Store) -> None:
    with pytest.raises(LabError, match="cannot be downloaded"):
        store.build(downloaded("http://127.0.0.1:9/disk.qcow2", "0" * 64))
