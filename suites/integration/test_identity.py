import re

import pytest
from interop_fixtures import Expectations, Guest, HostUnderTest


@pytest.mark.check("I01")
@pytest.mark.smoke
def test_the_hypervisor_is_recognised(guest: Guest, host: HostUnderTest, expect: Expectations) -> None:
    """The guest knows what it runs on, by systemd, by DMI and by its kernel: its drivers depend on that."""
    virt, vendor = guest.system.virt(), guest.system.dmi().vendor
    assert host.facts.product in expect.words("product"), f"the host calls itself {host.facts.product!r}"
    assert virt in expect.words("virt"), f"systemd-detect-virt says {virt!r}, not one of {expect.words('virt')}"
    assert vendor in expect.words("dmi_vendor"), f"DMI vendor is {vendor!r}, not one of {expect.words('dmi_vendor')}"
    lines = {found[0] for line in guest.kernel.log() if (found := re.search(r"Hypervisor detected: .*", line.text))}
    wanted = set(expect.words("hypervisor_line"))
    assert lines == wanted, f"the kernel's log says {sorted(lines)}, not {sorted(wanted)}"


@pytest.mark.check("I02")
@pytest.mark.smoke
def test_paravirtual_drivers_are_bound_and_used(guest: Guest, expect: Expectations) -> None:
    """Disk and network go through the hypervisor's own devices: each has its driver, and traffic moves its counters."""
    devices = guest.system.paravirtual_devices()
    idle = [f"{device.bus}/{device.name}" for device in devices if device.driver is None]
    assert not idle, f"paravirtual devices without a driver: {idle}"
    missing = set(expect.words("paravirtual_drivers")) - {device.driver for device in devices}
    assert not missing, f"no device is driven by {sorted(missing)}; there are {sorted(map(str, devices))}"

    root = guest.disks.root().name
    mac = guest.identity.nics[0].mac
    before_nic, before_disk = guest.nics.by_mac(mac), guest.disks.io()[root]
    trip = guest.disks.round_trip(expect.size("I02.transfer"))
    after_nic, after_disk = guest.nics.by_mac(mac), guest.disks.io()[root]
    assert trip.read == trip.written, f"{trip.size} were written and came back different"
    assert after_disk.written - before_disk.written >= trip.size, (
        f"{root}: writes bypassed it: {before_disk} {after_disk}"
    )
    assert after_disk.read - before_disk.read >= trip.size, f"{root}: reads bypassed it: {before_disk} {after_disk}"
    # The commands themselves came in by the first NIC.
    for way in ("received", "sent"):
        moved = getattr(after_nic, way).packets - getattr(before_nic, way).packets
        assert moved > 0, f"{after_nic.name}: no packet was {way} while the controller spoke with the guest"
