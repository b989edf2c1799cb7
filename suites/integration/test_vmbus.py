import math

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.protocol import Services
from harness.backends.verbs import able
from harness.core import Pending, wait_for
from harness.guest.switching import device_class, switch
from harness.guest.vmbus import VmbusDevice
from harness.measure.views import Views


def of_kind(guest: Guest, expect: Expectations, name: str) -> tuple[VmbusDevice, ...]:
    """The devices that expectations call so, of which there must be one."""
    found = guest.vmbus.of_class(device_class(expect.words("vmbus_devices"), name) or "")
    assert found, f"the guest has no {name} on its VMBus"
    return found


@pytest.mark.check("I06")
@pytest.mark.needs(Capability.VMBUS)
@pytest.mark.smoke
def test_every_device_of_the_vmbus_is_there_and_driven(guest: Guest, expect: Expectations) -> None:
    """What the host offers over VMBus a guest can use: each service and device is there, and has its driver."""
    enabled = {one.name: one.enabled for one in able(guest.machine, Services).services(expect.deadline("host.verb"))}
    devices, wanted = guest.vmbus.devices(), expect.words("vmbus_devices")
    assert wanted, "no device is expected here, and so none was looked at"
    for words in wanted:
        name, class_id, *drivers = words.split()
        assert enabled.get(name, True), f"{name}: on by default, and the host says that it is off: {enabled}"
        found = [device for device in devices if device.class_id == class_id]
        assert found, f"{name} ({class_id}): the host offers it, the guest has only {sorted(map(str, devices))}"
        idle = [device for device in found if device.driver not in drivers]
        assert not idle, f"{name}: not driven by {' or '.join(drivers)}: {idle}"

    asked, host = guest.machine.spec.nics, guest.machine.view(expect.deadline("host.verb")).nics
    views = Views("synthetic NICs", len(asked), len(host), len(of_kind(guest, expect, "nic")))
    assert views.agree, views

    versions, limit = guest.vmbus.versions(), expect.limit("I06.version")
    assert len(versions) == 1, f"the kernel's log names {list(versions)}, not one version of VMBus"
    assert limit.allows(float(versions[0])), f"VMBus {versions[0]}, not {limit}"


def spread(device: VmbusDevice, numbers: set[int]) -> None:
    """Assert that a device has as many channels as it should, each on a CPU of its own."""
    assert len(device.channels) in numbers, (
        f"{device.name} ({device.driver}): {len(device.channels)} channels, not {sorted(numbers)}: {device.channels}"
    )
    assert len(set(device.cpus)) == len(device.cpus), f"{device.name} ({device.driver}): CPUs {device.cpus}"


@pytest.mark.check("I07")
@pytest.mark.needs(Capability.VMBUS)
@pytest.mark.shape(vcpus=8)
def test_channels_spread_over_the_cpus(guest: Guest, expect: Expectations) -> None:
    """Disks and NICs of a large guest do not wait for one CPU, and the heartbeat's channel never stands still."""
    host = guest.machine.view(expect.deadline("host.verb")).vcpus
    views = Views("vCPUs", guest.shape.vcpus, host, len(guest.cpus.online()))
    assert views.agree, views

    for nic in of_kind(guest, expect, "nic"):
        spread(nic, {min(host, int(most)) for most in expect.words("nic_channels")})
    for disk in of_kind(guest, expect, "disk"):
        spread(disk, {math.ceil(min(host, expect.count("I07.disk_cpus")) / expect.count("I07.disk_share"))})

    (before,) = of_kind(guest, expect, "heartbeat")

    def beats() -> bool | Pending:
        (now,) = of_kind(guest, expect, "heartbeat")
        moved = [
            (new.events or 0) > (old.events or 0) and (new.interrupts or 0) > (old.interrupts or 0)
            for new, old in zip(now.channels, before.channels, strict=True)
        ]
        idle = now.inbound is not None and now.inbound == now.outbound
        return True if moved and all(moved) and idle else Pending(f"first {before}, then {now}")

    wait_for(
        "the heartbeat's channel to carry messages both ways, and to be empty again",
        beats,
        expect.deadline("I07.beat"),
        fault=AssertionError,
    )


@pytest.mark.check("I10")
@pytest.mark.needs(Capability.HEARTBEAT, Capability.SERVICE_TOGGLE)
@pytest.mark.changes_guest
def test_the_heartbeat_is_switched_off_and_on(guest: Guest, expect: Expectations) -> None:
    """A host can do without a guest's heartbeat, says so, and hears it again as soon as it wants to."""
    before, heart = guest.boot_id, device_class(expect.words("vmbus_devices"), "heartbeat")
    with guest.kernel.undisturbed(expect.noise):
        switch(guest, "heartbeat", True, heart, expect.deadline("I08.heartbeat"))
        switch(guest, "heartbeat", False, heart, expect.deadline("I10.off"))
        switch(guest, "heartbeat", True, heart, expect.deadline("I10.on"))
    assert guest.boot_id == before, "the guest did not live through it: it is in another boot"
