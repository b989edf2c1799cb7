"""How much of a busy CPU's time its hypervisor gave to others, as the guest is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Burnt:
    """Where the time of a CPU went while a program span on it, in parts of all that the kernel counted.

    Args:
        user: to the program.
        stolen: to others of the host, while the CPU would have run (kernel, Documentation/virt/kvm/x86/msr.rst,
            MSR_KVM_STEAL_TIME; proc(5), ``steal``).
    """

    user: float
    stolen: float


def parse_burnt(data: bytes) -> dict[int, Burnt]:
    """What the program ``burn`` printed: one JSON object a CPU."""
    burnt = {}
    for line in data.decode("ascii").splitlines():
        fields = read_json(line)
        ticks = {name: int(count) for name, count in fields["ticks"].items()}
        total = sum(ticks.values())
        if total <= 0 or min(ticks.values()) < 0:
            raise ValueError(f"CPU {fields['cpu']}: no time went by, or went backwards: {ticks}")
        burnt[int(fields["cpu"])] = Burnt((ticks["user"] + ticks.get("nice", 0)) / total, ticks["steal"] / total)
    if not burnt:
        raise ValueError("no line of a CPU")
    return burnt


def burn(guest: Guest, span: timedelta) -> dict[int, Burnt]:
    """Spin on all online CPUs at once for ``span``; by CPU, where its time went: ``/proc/stat``."""
    argv = ["python3", "-", str(span.total_seconds()), *map(str, sorted(guest.cpus.online()))]
    result = guest.run(argv, stdin=program("burn"), timeout=4 * span + timedelta(minutes=1))
    return Probe("time of busy CPUs", tuple(argv), parse_burnt).value(result, guest.name)
