"""Integration services that a host takes from its guest and gives back, as both sides see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.backends.protocol import Services, ServiceSwitch
from harness.backends.verbs import able
from harness.core import Deadline, Pending, wait_for

if TYPE_CHECKING:
    from harness.guest.guest import Guest


def device_class(devices: Sequence[str], service: str) -> str | None:
    """The class of a service's VMBus device.

    Args:
        devices: lines of a name, a class's GUID and drivers, as expectations list them.
        service: the name.

    Returns:
        The GUID; None where no such device is expected in guests of this host.
    """
    return next((words.split()[1] for words in devices if words.split()[0] == service), None)


def switch(guest: Guest, service: str, on: bool, device: str | None, seen: Deadline) -> None:
    """Switch a service and wait until both sides show it.

    Off, the host says that it is, and the guest has lost the service's device; on, the host says that the guest
    answers, and a driver has the device.

    Args:
        guest: whose service.
        service: as :class:`~harness.backends.protocol.Services` calls it.
        on: whether the guest has it from now on.
        device: the class of its VMBus device; None: guests of this host have none to look at.
        seen: until when both sides must show it.

    Raises:
        AssertionError: one of them does not.
    """
    able(guest.machine, ServiceSwitch).toggle(service, on, seen)

    def shown() -> bool | Pending:
        found = {one.name: one for one in able(guest.machine, Services).services(seen)}.get(service)
        host = found is not None and found.enabled is on and bool(found.healthy) is on
        devices = guest.vmbus.of_class(device) if device else ()
        driven = [bool(each.driver) for each in devices]
        if host and (device is None or driven == ([True] if on else [])):
            return True
        inside = f", by the guest {devices}" if device else ""
        return Pending(f"asked of the host: {service} {'on' if on else 'off'}; seen by the host {found}{inside}")

    wait_for(f"{service} to be {'on' if on else 'off'}", shown, seen, every=0.5, fault=AssertionError)
