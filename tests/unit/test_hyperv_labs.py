"""The labs of Hyper-V that ship: one with a twin, and an example with hosts."""

import json
from pathlib import Path

import pytest

from harness.backends.hyperv import Settings
from harness.backends.model import Endpoint, PublishedImage, Shape
from harness.core import Deadline, GiB, Size, UsageError
from harness.image.model import Format, Image
from harness.lab import Run, load_lab
from harness.lab.outfit import Outfitter
from harness.lab.twin_process import asked
from harness.twins.hyperv.config import TwinConfig

LABS = Path(__file__).resolve().parents[2] / "configs/labs"
IMAGE = Image("test", "d" * 64, {Format.QCOW2: Path("disk.qcow2")}, Size(GiB))


@pytest.fixture
def lab():
    return load_lab("hyperv-twin")


def test_the_twin_understands_what_its_lab_asks_of_it(lab, tmp_path):
    """A switch that the controller reaches one to one, and one for guests among themselves."""
    found = TwinConfig.read(json.dumps({**asked(lab, "hyperv"), "folder": str(tmp_path), "probe": None}))
    assert {name: network.kind for name, network in found.networks.items()} == {"LAN": "nat", "peers": "switch"}


def test_the_twins_host_is_this_machine(lab):
    """Its guests share capacity and quiet with all others that run here."""
    host = lab.hosts["hyperv"]
    assert isinstance(host.settings, Settings)
    assert host.settings.local
    assert host.twin == "hyperv"
    with pytest.raises(UsageError, match="no twin called 'hyper'"):
        asked(lab, "hyper")


def test_its_guests_are_found_outside(lab, tmp_path, monkeypatch):
    """At the same place of the other subnet. Their MACs are nobody's: Microsoft's are given out by hosts themselves."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("harness.lab.addresses.in_use", None)
    with Run.begin(lab) as run:
        outfitter = Outfitter(run, lab.hosts["hyperv"], IMAGE, tmp_path / "guests")
        spec = outfitter.make("guest", Shape(nics=2), PublishedImage(IMAGE.digest, "base"), Deadline.after(5)).spec
    first, second = spec.nics
    assert first.forward == Endpoint(f"127.79.{first.address.partition('/')[0].removeprefix('10.80.')}", 2222)
    assert second.forward is None
    assert all(int(nic.mac[:2], 16) & 3 == 2 for nic in spec.nics)


def test_the_example_is_a_lab():
    """As it stands: who copies it changes names and no more."""
    found = load_lab(LABS / "hyperv.example.yaml")
    assert {name: host.settings.auth for name, host in found.hosts.items()} == {
        "hyperv2022": "ntlm",
        "hyperv2019": "kerberos",
    }
    assert not any(host.settings.local for host in found.hosts.values())
