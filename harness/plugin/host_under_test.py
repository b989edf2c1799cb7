"""A host as tests see it: the ``host`` fixture, and what it is expected to show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from harness.backends.model import Firmware
from harness.backends.protocol import Hypervisor
from harness.backends.views import HostFacts
from harness.core import Deadline
from harness.lab import Host
from harness.lab.calibration import Calibration
from harness.lab.expectations import Expectations
from harness.lab.limits import Readings
from harness.plugin.demand import Demand
from harness.plugin.lender import Lender


@dataclass(frozen=True, slots=True)
class HostUnderTest:
    """The ``host`` fixture: one host of the lab, as a test sees it.

    Args:
        name: the host's name in the lab.
        pool: the pool it ran for.
        backend: ``kvm``, ``hyperv``, ``vsphere``.
        hypervisor: the driver.
        facts: product, version, acceleration, size.
        expect: what such a host must show (for BIOS machines; ``expect`` the fixture follows the test's firmware).
        settings: the host as the lab file has it.
        calibration: what the lab says of limits and sizes.
        kernel: the version of the kernel in the run's image or release; None where neither tells.
    """

    name: str
    pool: str
    backend: str
    hypervisor: Hypervisor
    facts: HostFacts
    expect: Expectations
    settings: Host
    calibration: Calibration | None = None
    kernel: str | None = None

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    @classmethod
    def reached(
        cls,
        member: Host,
        pool: str,
        hypervisor: Hypervisor,
        calibration: Calibration | None = None,
        kernel: str | None = None,
        *,
        within: timedelta = timedelta(minutes=2),
    ) -> HostUnderTest:
        """The host behind a connection; reads its facts.

        Args:
            member: the host of the lab.
            pool: what it stands for.
            hypervisor: connected.
            calibration: what the lab says of limits and sizes.
            kernel: the version of its guests' kernel, where it is known before one runs.
            within: how long it may take to tell.
        """
        facts = hypervisor.facts(Deadline.after(within))
        expect = _expectations(member, facts, Firmware.BIOS, calibration, kernel=kernel)
        return cls(member.name, pool, member.backend, hypervisor, facts, expect, member, calibration, kernel)

    def expectations(self, firmware: Firmware, readings: Readings | None = None) -> Expectations:
        """What this host must show a guest of this firmware; what is held against limits goes into ``readings``."""
        return _expectations(
            self.settings, self.facts, firmware, self.calibration, kernel=self.kernel, readings=readings
        )

    def lacks(self, demand: Demand) -> str | None:
        """Why a test that asks for this cannot run here, as its skip says it; None where it can."""
        expect = self.expectations(demand.shape.firmware)
        reason = expect.unsupported(demand.check or "", demand.part)
        if reason:
            return f"{self.name} cannot show this: {reason}"
        nothing = next((key for key in demand.expects if expect.words(key) == ("none",)), None)
        if nothing:
            named = f"{nothing} is none in {expect.file.name}; name there what your image or lab has"
            return f"{self.name} cannot show this: {named}"
        able = self.hypervisor.capabilities(demand.shape)
        missing = next((need for need in demand.needs if need not in able), None)
        return f"{self.name} cannot: {missing.value} ({missing.name})" if missing else None


@dataclass(frozen=True, slots=True)
class Column:
    """One opened host and the guests on it."""

    host: HostUnderTest
    lender: Lender

    @property
    def settings(self) -> Host:
        """The host as the lab file has it."""
        return self.host.settings


def _expectations(
    host: Host,
    facts: HostFacts,
    firmware: Firmware,
    calibration: Calibration | None,
    *,
    kernel: str | None,
    readings: Readings | None = None,
) -> Expectations:
    """What the product expects of a host, and what the lab says otherwise."""
    expect = Expectations.for_host(host.backend, facts, firmware, kernel=kernel, readings=readings)
    return calibration.amend(expect, host.pool, host.name) if calibration else expect
