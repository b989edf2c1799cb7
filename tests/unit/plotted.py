"""Runs with measurements that charts are drawn of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness.measure import Better
from harness.report.history import Entry, Night, PoolFacts
from harness.report.measured import Figure
from harness.report.summary import Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)


def law(number, sigma, kappa):
    """The Universal Scalability Law as Gunther writes it."""
    return number / (1 + sigma * (number - 1) + kappa * number * (number - 1))


SPEED = [
    ((("vcpus", str(number)),), [Figure("speed_up", law(number, 0.05, 0.002) * 1.01, "x")]) for number in (2, 4, 8)
]
OFFSETS = [((), [Figure("clock_offset", 0.002, "s", Better.LOWER, 0.0005)])]
BOOT = [((), [Figure("boot", 30.0, "s"), Figure("boot_kernel", 8.0, "s"), Figure("boot_userspace", 17.0, "s")])]


def night(number=0, **figures) -> Night:
    """A run with measurements: by check, figures on each of two pools."""
    pools = {"kvm": PoolFacts("QEMU/libvirt"), "esxi8": PoolFacts("VMware ESXi", twin=True)}
    found = [
        Entry(check, "", params, pool, Verdict.PASSED, 1.0, tuple(taken))
        for check, several in figures.items()
        for params, taken in several
        for pool in pools
    ]
    when = START + timedelta(days=number)
    return Night(
        f"r{number}", "lab", when, "debian12", pools=pools, entries=tuple(sorted(found, key=lambda one: one.key))
    )
