"""What a guest gets before it exists, by what its host and network are."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.backends.model import Endpoint, PublishedImage, Shape
from harness.backends.views import ResourceKind
from harness.core import Deadline, GiB, LabError, Size
from harness.image.model import Format, Image
from harness.lab import Run, load_lab
from harness.lab.journal import entries
from harness.lab.outfit import Outfitter

IMAGE = Image("test", "d" * 64, {Format.QCOW2: Path("disk.qcow2")}, Size(GiB))


@pytest.fixture
def outfitter(tmp_path, monkeypatch):
    """For guests of the twin of vSphere; nobody on its networks is asked for anything."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("harness.lab.addresses.in_use", None)
    lab = load_lab("vsphere-twin")
    with Run.begin(lab) as run:
        yield Outfitter(run, lab.hosts["vsphere"], IMAGE, tmp_path / "guests")


def soon():
    return Deadline.after(60)


@pytest.fixture
def outfit(outfitter):
    return outfitter.make("guest", Shape(nics=2), PublishedImage(IMAGE.digest, "base"), soon())


def test_the_first_nic_is_found_outside_and_the_others_are_not(outfit):
    """At the same place of the other subnet, at the network's port."""
    first, second = outfit.spec.nics
    last = first.address.partition("/")[0].removeprefix("10.78.")
    assert first.forward == Endpoint(f"127.78.{last}", 2222)
    assert second.forward is None
    assert second.address.startswith("10.79.0.")


def test_macs_are_of_the_range_that_vsphere_accepts(outfit):
    """Others are refused at power-on."""
    assert all(nic.mac.startswith("00:50:56:") and int(nic.mac[9:11], 16) < 0x40 for nic in outfit.spec.nics)


def test_the_same_addresses_can_be_leased_again(outfitter, outfit):
    """By whoever takes the guest over; its port outside needs no lease of its own."""
    for lease in outfit.leases:
        lease.release()
    again = outfitter.again(outfit.identity, soon())
    assert [lease.value for lease in again] == [lease.value for lease in outfit.leases]


def noted(outfitter):
    """The folders that the journal knows of."""
    return [entry.name for entry in entries(outfitter._run.store) if entry.kind is ResourceKind.SEED]


def test_key_and_seed_are_in_the_journal_until_they_are_gone(outfitter, outfit):
    """By their folder's name, which is the guest's."""
    assert noted(outfitter) == [outfit.identity.name]
    outfitter.drop(outfit.identity.name)
    assert noted(outfitter) == []
    assert not outfit.folder.exists()


def test_an_outfit_that_could_not_be_completed_leaves_no_folder(outfitter, tmp_path, monkeypatch):
    """A key that opens nothing is no use to anybody."""

    def none_is_free(*_, **__):
        raise LabError("none is free")

    monkeypatch.setattr(outfitter._run.addresses, "mac", none_is_free)
    with pytest.raises(LabError, match="none is free"):
        outfitter.make("guest", Shape(), PublishedImage(IMAGE.digest, "base"), soon())
    assert noted(outfitter) == []
    assert list((tmp_path / "guests").iterdir()) == []
