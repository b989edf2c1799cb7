"""The labs of Hyper-V that ship: one with a twin, and an example with hosts."""

import importlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.backends.hyperv import Settings
from harness.backends.model import Endpoint, Firmware, PublishedImage, Shape
from harness.backends.views import HostFacts
from harness.core import Deadline, GiB, Size, UsageError
from harness.guest.system import ParavirtualDevice
from harness.image.model import Format, Image
from harness.lab import Run, load_lab
from harness.lab.expectations import Expectations
from harness.lab.outfit import Outfitter
from harness.lab.twin_process import asked
from harness.plugin import hooks
from harness.plugin.host_under_test import HostUnderTest
from harness.plugin.state import KEY
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
        spec = outfitter.make("guest", Shape(nics=2), PublishedImage(IMAGE.digest, "base"), Deadline.after(60)).spec
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


def set_up(check, expectations):
    """What the plugin does before a check of this number, on a host of which this is expected."""
    begun = []
    host = SimpleNamespace(
        name="win1",
        hypervisor=SimpleNamespace(capabilities=lambda shape: ()),
        expectations=lambda firmware: expectations,
    )
    host.lacks = partial(HostUnderTest.lacks, host)
    column = SimpleNamespace(host=host)
    session = SimpleNamespace(column=lambda name: column, moved=lambda _: False, begin_activity=begun.append)
    asked = SimpleNamespace(check=check, part="", shape=Shape(), needs=(), expects=())
    item = type("Item", (), {})()
    state = SimpleNamespace(
        places={item: SimpleNamespace(column="win1", demand=asked)}, open=lambda: session, running_on=lambda *_: None
    )
    item.config = SimpleNamespace(stash={KEY: state})
    hooks.pytest_runtest_setup(item)
    return begun


@pytest.mark.parametrize("firmware", Firmware)
def test_drivers_of_vmbus_are_missed_where_a_host_is_said_to_be_real(firmware):
    """The check is skipped with its reason on a host that says it is a twin; one that hides it fails the check."""
    check = importlib.import_module("suites.integration.test_identity").test_paravirtual_drivers_are_bound_and_used
    [number] = [mark.args[0] for mark in check.pytestmark if mark.name == "check"]
    facts = HostFacts("Microsoft Hyper-V", "10.0.20348", "20348", "hyperv", 2, GiB, 8)
    twin = Expectations.for_host("hyperv", replace(facts, twin=True), firmware)
    with pytest.raises(pytest.skip.Exception, match=r"win1 cannot show this: the twin has no VMBus.* no hv_\* driver"):
        set_up(number, twin)
    real = Expectations.for_host("hyperv", facts, firmware)
    assert set_up(number, real) == ["win1"]
    drivers = ("virtio_net", "virtio_scsi")
    devices = tuple(ParavirtualDevice("virtio", f"virtio{at}", driver) for at, driver in enumerate(drivers))
    guest = SimpleNamespace(system=SimpleNamespace(paravirtual_devices=lambda: devices))
    with pytest.raises(AssertionError, match=r"no device is driven by \['hv_netvsc', 'hv_storvsc'\]"):
        check(guest, real)
