"""What wakes each CPU of a guest up: the clock event devices of its kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.guest.probe import Probe


@dataclass(frozen=True, slots=True)
class ClockEventDevice:
    """The device that ends a CPU's sleep in time.

    Args:
        name: the kernel's name of it (``lapic-deadline``, ``Hyper-V clockevent``); empty where the CPU has none.
        handler: the kernel's function that its interrupt calls (``hrtimer_interrupt``); empty where there is none.
    """

    name: str
    handler: str

    def __str__(self) -> str:
        return f"{self.name or 'none'} ({self.handler or 'nobody listens'})"


_DEVICE = re.compile(r"^Clock Event Device: (?P<name>.+?)\s*$", re.MULTILINE)
_HANDLER = re.compile(r"^ event_handler:\s+(?P<name>\w+)", re.MULTILINE)
_CPU = re.compile(r"^Per CPU device: (?P<cpu>\d+)$", re.MULTILINE)


def parse_clock_events(data: bytes) -> Mapping[int, ClockEventDevice]:
    """The tick devices at the end of ``/proc/timer_list`` (kernel, kernel/time/timer_list.c), by CPU.

    The broadcast device, which stands in for CPUs whose own device stops in deep sleep, belongs to no CPU.
    """
    devices = {}
    for part in data.decode("ascii", "backslashreplace").split("\nTick Device:")[1:]:
        cpu, device = _CPU.search(part), _DEVICE.search(part)
        if device is None:
            raise ValueError("a tick device without its clock event device")
        if cpu is None:
            if "Broadcast device" not in part:
                raise ValueError("a tick device that is neither a CPU's nor the broadcast device")
            continue
        handler = _HANDLER.search(part)
        # "<NULL>" is what a CPU without a device has.
        name = "" if device["name"] == "<NULL>" else device["name"]
        devices[int(cpu["cpu"])] = ClockEventDevice(name, handler["name"] if handler else "")
    if not devices:
        raise ValueError("no CPU has a tick device")
    return devices


CLOCK_EVENTS = Probe.file("/proc/timer_list", parse_clock_events, name="clock event devices")
"""The clock event device of each online CPU: ``/proc/timer_list``, which root alone may read."""
