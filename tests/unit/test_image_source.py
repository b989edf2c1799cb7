"""A lab's own images: what is accepted, and how what is not is refused."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from harness.core import LabError, UsageError
from harness.core.process import run
from harness.image.content import digest_of_file, digest_of_raw
from harness.image.model import Format
from harness.image.recipe import NamedRecipe, Recipe, SourceFile
from harness.image.source import DIFFERENT_BITS
from harness.image.store import Store
from tests.unit.tiny_images import raw_disk, recipe_for, soon


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
