"""The store: entries are whole or not there, whoever builds, and however a builder ends."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from harness.core import LabError, UsageError
from harness.core.process import run
from harness.image.content import digest_of_raw
from harness.image.model import Format
from harness.image.progress import Advance
from harness.image.qemuimg import info
from harness.image.store import Store
from tests.unit.tiny_images import raw_disk, recipe_for, soon


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return raw_disk(tmp_path / "disk.raw")


def test_an_imported_disk_is_named_after_its_content(store: Store, disk: Path) -> None:
    image = store.build(recipe_for(disk)).image
    assert image.digest == digest_of_raw(disk)
    assert info(image.qcow2, soon()).format == "qcow2"
    assert info(image.qcow2, soon()).virtual_size == image.virtual_size == disk.stat().st_size


def test_building_again_touches_nothing(store: Store, disk: Path) -> None:
    first = store.build(recipe_for(disk))
    disk_file = first.image.qcow2.stat()
    second = store.build(recipe_for(disk))
    assert second == first
    assert second.image.qcow2.stat().st_ino == disk_file.st_ino


def test_of_two_builders_one_builds(store: Store, disk: Path) -> None:
    """Each has a store object of its own, as two processes do."""
    with ThreadPoolExecutor(2) as pool:
        entries = list(pool.map(lambda _: Store(store.root).build(recipe_for(disk)), range(2)))
    assert entries[0] == entries[1]
    assert len(store.entries()) == 1


def test_a_builder_killed_in_the_middle_leaves_no_entry(store: Store, disk: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from harness.image import builder, content, source
        from harness.image.store import Store
        from tests.unit.tiny_images import recipe_for
        content.digest_of_raw = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        Store(Path({str(store.root)!r})).build(recipe_for(Path({str(disk)!r})))
    """
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=env, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert store.entries() == []
    assert list((store.root / "tmp").iterdir()), "the killed builder should have left its working folder"
    assert store.build(recipe_for(disk)).image.digest == digest_of_raw(disk)
    assert list((store.root / "tmp").iterdir()) == []


def test_a_damaged_entry_is_built_anew(store: Store, disk: Path) -> None:
    entry = store.build(recipe_for(disk))
    entry.image.qcow2.unlink()
    assert store.entries() == []
    assert store.build(recipe_for(disk)).image.qcow2.is_file()


def test_an_image_is_found_by_name_and_by_either_digest(store: Store, disk: Path) -> None:
    entry = store.build(recipe_for(disk))
    for word in ("tiny", entry.image.digest[:8], entry.recipe[:8].upper()):
        assert store.find(word) == entry


def test_an_unknown_name_suggests_the_nearest(store: Store, disk: Path) -> None:
    store.build(recipe_for(disk))
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        store.find("tniy")


@pytest.mark.parametrize("form", [Format.VHDX, Format.VMDK])
def test_every_format_holds_the_same_disk(store: Store, disk: Path, form: Format) -> None:
    image = store.convert(store.build(recipe_for(disk)).image, form)
    proven = store.verify(image)
    assert any(line.startswith(f"{form.value}: ") for line in proven)
    assert store.find("tiny").image.files[form] == image.files[form]


def test_a_vhdx_grows_and_a_vmdk_is_a_stream(store: Store, disk: Path) -> None:
    image = store.build(recipe_for(disk)).image
    for form in (Format.VHDX, Format.VMDK):
        image = store.convert(image, form)
    assert info(image.files[Format.VHDX], soon()).actual_size < image.virtual_size
    assert b"streamOptimized" in image.files[Format.VMDK].read_bytes()[:4096]


def test_a_changed_disk_fails_verification(store: Store, disk: Path) -> None:
    image = store.build(recipe_for(disk)).image
    other = raw_disk(disk.with_name("other.raw"), fill=b"changed")
    run(["qemu-img", "convert", "-O", "qcow2", other, image.qcow2], soon())
    with pytest.raises(LabError, match="its name says"):
        store.verify(image)


def test_nobody_sweeps_away_what_a_verification_works_on(store: Store, disk: Path) -> None:
    """Another run that starts, or reaps, or prunes meanwhile; what a killed verification left is swept."""
    image = store.convert(store.build(recipe_for(disk)).image, Format.VHDX)

    class Others:
        @contextmanager
        def step(self, what: str) -> Iterator[Advance]:
            yield lambda _share: None
            assert Store(store.root).sweep() == Store(store.root).prune() == [], what

    assert len(store.verify(image, progress=Others())) == 2
    (store.root / "tmp" / f"verify-{image.digest}.killed").mkdir()
    assert len(store.sweep()) == 1


def test_of_two_verifications_neither_disturbs_the_other(store: Store, disk: Path) -> None:
    image = store.build(recipe_for(disk)).image
    with ThreadPoolExecutor(2) as pool:
        proven = list(pool.map(lambda _: Store(store.root).verify(image), range(2)))
    assert proven[0] == proven[1] != []


def test_a_format_with_other_bits_fails_verification(store: Store, disk: Path) -> None:
    image = store.convert(store.build(recipe_for(disk)).image, Format.VHDX)
    other = raw_disk(disk.with_name("other.raw"), fill=b"changed")
    run(["qemu-img", "convert", "-O", "vhdx", other, image.files[Format.VHDX]], soon())
    with pytest.raises(LabError, match="does not hold the same disk"):
        store.verify(image)


def test_a_conversion_that_fails_leaves_nothing(store: Store, disk: Path) -> None:
    image = store.build(recipe_for(disk)).image
    image.qcow2.write_bytes(b"QFI\xfb garbage")
    with pytest.raises(LabError):
        store.convert(image, Format.VHDX)
    assert sorted(path.name for path in image.qcow2.parent.iterdir()) == ["disk.qcow2", "manifest.json"]


def test_pruning_keeps_the_newest_of_each_name(store: Store, disk: Path) -> None:
    old = store.build(recipe_for(disk))
    new = store.build(recipe_for(raw_disk(disk.with_name("other.raw"), fill=b"changed")))
    assert store.prune() == [old.folder]
    assert store.entries() == [new]


def test_pruning_everything_leaves_an_empty_store(store: Store, disk: Path) -> None:
    store.build(recipe_for(disk))
    store.prune(everything=True)
    assert store.entries() == []


def test_what_a_killed_converter_left_is_swept_by_the_next_or_by_the_reaper(store: Store, disk: Path) -> None:
    """A half disk and a half manifest beside the whole ones; not while somebody works on the entry."""
    image = store.build(recipe_for(disk)).image
    folder = image.qcow2.parent
    halves = [folder / ".manifest.json.new", folder / ".new-1.vhdx", store.root / "tmp" / "0123.work"]
    for half in halves:
        half.write_bytes(b"half")
    with FileLock(store.root / "locks" / f"{folder.name}.lock"):
        assert store.sweep(touch=False) == halves[2:]
    assert store.sweep(touch=False) == [halves[2], *halves[:2]]
    store.convert(image, Format.VHDX)
    assert [half.exists() for half in halves] == [False, False, True]
    assert store.sweep() == halves[2:]
    assert store.find(image.digest).image.files.keys() == {Format.QCOW2, Format.VHDX}
