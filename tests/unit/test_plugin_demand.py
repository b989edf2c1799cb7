"""What a test asks for is read from its markers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import Firmware, Shape
from harness.backends.views import HostFacts
from harness.core import GiB, Size, UsageError
from harness.plugin import demand
from harness.plugin.host_under_test import HostUnderTest

pytest_plugins = ["pytester"]


def item_of(pytester: pytest.Pytester, decorators: str) -> pytest.Item:
    source = f"""
        import pytest
        from harness.backends.capabilities import Capability
        {decorators}
        def test_it(): ...
    """
    return pytester.getitem(source, "test_it")


def test_a_test_without_markers_asks_for_the_default_shape(pytester):
    asked = demand.of(item_of(pytester, ""))
    assert (asked.check, asked.shape, asked.needs) == (None, Shape(), ())


def test_sizes_and_firmware_are_written_as_words(pytester):
    asked = demand.of(item_of(pytester, "@pytest.mark.shape(memory='2 GiB', firmware='uefi', data_disks=('1 GiB',))"))
    assert asked.shape == Shape(memory=Size(2 * GiB), firmware=Firmware.UEFI, data_disks=(GiB,))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("data_disks=['1 GiB'], data_sectors=1024", "no disk has sectors of 1024 bytes.*ask for 512 or 4096"),
        ("data_disks=['1 GiB'], data_sectors='4 KiB'", "no disk has sectors of '4 KiB' bytes"),
        ("data_disks=['1 GiB', 5120], data_sectors=4096", "1073741824, 5120 bytes are no whole sectors of 4096"),
    ],
)
def test_data_disks_that_nobody_makes_are_told_with_the_test(pytester, asked, said):
    with pytest.raises(UsageError, match=rf"(?s)test_it.*{said}"):
        demand.of(item_of(pytester, f"@pytest.mark.shape({asked})"))


def test_sectors_are_those_of_all_data_disks(pytester):
    asked = demand.of(item_of(pytester, "@pytest.mark.shape(data_disks=['1 GiB'], data_sectors=4096)"))
    assert asked.shape == Shape(data_disks=(GiB,), data_sectors=4096)
    assert "1 data disks with sectors of 4096 bytes" in str(asked.shape)


def test_the_run_s_firmware_is_for_tests_that_ask_for_none(pytester):
    """A host must be able to boot it."""
    asked = demand.of(item_of(pytester, ""), Firmware.UEFI)
    assert (asked.shape.firmware, asked.needs) == (Firmware.UEFI, (Capability.UEFI,))


def test_a_test_that_asks_for_a_firmware_keeps_it(pytester):
    asked = demand.of(item_of(pytester, "@pytest.mark.shape(firmware='bios')"), Firmware.UEFI)
    assert (asked.shape.firmware, asked.needs) == (Firmware.BIOS, ())


def test_capabilities_are_collected_from_all_markers(pytester):
    marks = "@pytest.mark.needs(Capability.PAUSE)\n        @pytest.mark.needs(Capability.SAVE, Capability.PAUSE)"
    assert set(demand.of(item_of(pytester, marks)).needs) == {Capability.PAUSE, Capability.SAVE}


@pytest.mark.parametrize(("words", "lacks"), [(("vmtools",), None), (("none",), "time_service is none in esxi.yaml")])
def test_what_a_host_names_nothing_for_is_not_looked_for(pytester, words, lacks):
    """Told before a guest is started, and by `interop checks`, as any other reason."""
    asked = demand.of(item_of(pytester, "@pytest.mark.expects('time_service')"))
    assert asked.expects == ("time_service",)
    expect = SimpleNamespace(unsupported=lambda *_: None, words={"time_service": words}.get, file=Path("esxi.yaml"))
    host = SimpleNamespace(
        name="esxi1",
        expectations=lambda _: expect,
        hypervisor=SimpleNamespace(capabilities=lambda _: ()),
    )
    said = HostUnderTest.lacks(host, asked)
    assert said is None if lacks is None else lacks in said


@pytest.mark.parametrize(
    ("accelerated", "kernel", "lacks"),
    [
        ("tcg", "6.12.117+deb13-amd64", "kvm cannot show this: Linux takes an emulated guest for a real machine"),
        ("tcg", "6.1.0-56-amd64", None),
        ("tcg", None, None),
        ("kvm", "6.12.117+deb13-amd64", None),
    ],
)
def test_what_the_kernel_of_the_images_guests_cannot_is_not_asked(pytester, accelerated, kernel, lacks):
    """The run's image says which it is, before a guest is started."""
    facts = HostFacts("QEMU/libvirt", "9", "9", accelerated, 2, GiB, 8)
    hypervisor = SimpleNamespace(facts=lambda _: facts, capabilities=lambda _: ())
    member = SimpleNamespace(name="kvm", backend="kvm")
    host = HostUnderTest.reached(member, "kvm", hypervisor, kernel=kernel)
    said = host.lacks(demand.of(item_of(pytester, "@pytest.mark.check('C09')")))
    assert said is None if lacks is None else said.startswith(lacks)


@pytest.mark.parametrize("number", ["C01", "ACME-001", "LAB2-1234"])
def test_ours_and_namespaced_numbers_are_numbers(pytester, number):
    assert demand.of(item_of(pytester, f"@pytest.mark.check({number!r})")).check == number


@pytest.mark.parametrize("number", ["", "c01", "C1", "ACME-1", 1])
def test_anything_else_is_no_number(pytester, number):
    with pytest.raises(UsageError, match="not a check's number"):
        demand.of(item_of(pytester, f"@pytest.mark.check({number!r})"))


def test_a_misspelt_field_names_the_nearest(pytester):
    with pytest.raises(UsageError, match="did you mean 'vcpus'"):
        demand.of(item_of(pytester, "@pytest.mark.shape(vcpu=4)"))


def test_a_word_is_no_capability(pytester):
    with pytest.raises(UsageError, match="not a Capability"):
        demand.of(item_of(pytester, "@pytest.mark.needs('pause')"))
