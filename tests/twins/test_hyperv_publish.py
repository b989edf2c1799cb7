"""How an image comes to a Hyper-V host: fetched or sent, whole or not at all, and once by content."""

import contextlib
import hashlib
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.backends import hyperv
from harness.backends.hyperv import publish
from harness.backends.hyperv.errors import Full
from harness.backends.hyperv.offer import offered
from harness.backends.protocol import Refused
from harness.backends.registry import Context
from harness.backends.views import ResourceKind
from harness.core import LabError
from harness.image.model import Format
from tests.twins.hyperv_driver import OWNER, host, image, twin
from tests.unit.fake_ledger import NoLedger
from tests.unit.powershell import soon

__all__ = ["host", "image", "twin"]  # fixtures: tests ask for them by name


@pytest.fixture
def pulling(twin, tmp_path):
    """The driver of a lab that says how the host reaches us."""
    settings = hyperv.Settings(twin=True, pull="127.0.0.1").at_twin(twin.said())
    opened = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path / "scratch"))
    yield opened
    opened.close()


def test_an_image_is_published_in_one_round_trip_where_the_host_fetches_it(twin, image, tmp_path):
    """And one to see that it is not there yet, twice: before and while nobody else brings it."""
    settings = hyperv.Settings(twin=True, pull="127.0.0.1").at_twin(twin.said())
    host = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path / "scratch"))
    try:
        before = host.agents.trips
        host.publish(replace(image, digest="0f" * 32), soon())
        assert host.agents.trips - before == 3
    finally:
        host.close()


class TestPublish:
    """Images, once by content."""

    def test_two_at_once_make_one(self, host, image, twin):
        """And both have it."""
        other = replace(image, digest="cd" * 32)
        found, failed = [], []

        def work():
            try:
                found.append(host.publish(other, soon()))
            except LabError as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert found[0] == found[1]
        assert sorted(path.name for path in (twin.store / "images").iterdir() if "cd" in path.name) == [
            f"{'cd' * 32}.vhdx"
        ]

    @pytest.mark.parametrize("pull", [None, "127.0.0.1"], ids=["sent", "fetched"])
    def test_a_full_disk_is_said_to_be_full_and_nothing_is_left_on_it(self, twin, image, tmp_path, pull, caplog):
        """A volume of 1 MiB, and what the engine itself says of it."""
        images = twin.store / "images"
        images.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(images)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small volume takes root")
        settings = hyperv.Settings(twin=True).at_twin(twin.said()).model_copy(update={"pull": pull})
        host = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path / "scratch"))
        try:
            with pytest.raises(LabError) as caught:
                host.publish(replace(image, digest="fu" * 32), soon())
            assert "free space below" in (caught.value.hint or "")
            assert isinstance(caught.value, Full)
            assert _said(caplog) == [], "it would not fit if it was sent, either"
            assert list(images.iterdir()) == []
        finally:
            host.close()
            subprocess.run(["umount", str(images)], check=True)

    def test_the_host_fetches_it_where_the_lab_says_how(self, pulling, image, caplog):
        """By HTTP with a token, and then hashes it. Nobody writes to it afterwards."""
        published = Path(pulling.publish(replace(image, digest="ef" * 32), soon()).handle)
        assert published.read_bytes() == image.files[Format.VHDX].read_bytes()
        assert published.stat().st_mode & 0o222 == 0
        assert _said(caplog) == []

    @pytest.mark.parametrize("way", ["nobody listens", "refused"])
    def test_what_the_host_cannot_fetch_is_sent(self, pulling, image, caplog, monkeypatch, way):
        """An address that it does not reach, or something in between that says no; the run is told."""

        @contextlib.contextmanager
        def elsewhere(path, address, name):
            with offered(path, address, name) as offer:
                nobody = "http://127.0.0.1:9/" if way == "nobody listens" else offer.url + "x"
                yield replace(offer, url=nobody)

        monkeypatch.setattr(publish, "offered", elsewhere)
        digest = hashlib.sha256(way.encode()).hexdigest()
        published = Path(pulling.publish(replace(image, digest=digest), soon()).handle)
        assert published.read_bytes() == image.files[Format.VHDX].read_bytes()
        assert published.stat().st_mode & 0o222 == 0
        [said] = _said(caplog)
        assert said.startswith("win1: cannot fetch an image by `pull: 127.0.0.1`, so it is sent")
        assert list(pulling.owned(soon())) == []

    def test_what_arrives_damaged_never_gets_the_contents_name(self, pulling, image, twin, tmp_path, monkeypatch):
        """What is left, where the process ends then, is ours by its name, and goes."""
        spoilt = tmp_path / "spoilt"
        spoilt.write_bytes(image.files[Format.VHDX].read_bytes()[:-1] + b"!")
        monkeypatch.setattr(publish, "offered", lambda path, *rest: offered(spoilt, *rest))
        before = _images(twin)
        with pytest.raises(LabError, match="arrived damaged"):
            pulling.publish(replace(image, digest="da" * 32), soon())
        assert _images(twin) == before
        with monkeypatch.context() as dying:
            dying.setattr(publish.Publisher, "discard", lambda *_: None)
            with pytest.raises(LabError, match="arrived damaged"):
                pulling.publish(replace(image, digest="da" * 32), soon())
        [left] = _images(twin) - before
        assert (twin.store / "images" / left).read_bytes() == spoilt.read_bytes()
        [thing] = pulling.owned(soon())
        assert (thing.kind, thing.handle, thing.owner.run) == (ResourceKind.IMAGE, left, "run-1a")
        with pytest.raises(Refused, match="carries the mark"):
            pulling.remove(replace(thing, owner=replace(OWNER, token="other")), soon())
        pulling.remove(thing, soon())
        pulling.remove(thing, soon())
        assert _images(twin) == before


def _said(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("harness.backends")]


def _images(twin):
    return {path.name for path in (twin.store / "images").glob("*")}
