"""Sizes of a libvirt machine that runs: what is too much is for libvirt to say."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import libvirt
import pytest

from harness.backends.kvm.errors import translated
from harness.backends.kvm.sizes import Sizes
from harness.backends.protocol import Refused
from harness.core import Deadline, MiB, Size
from tests.unit.fake_ledger import NoLedger

RUNNING = """<domain>
  <maxMemory unit='KiB' slots='8'>1048576</maxMemory><memory unit='KiB'>262144</memory>
  <vcpu placement='static' current='2'>4</vcpu>
</domain>"""


class Domain:
    """A running domain as libvirt 9.0 has it: it refuses more vCPUs than it was defined with."""

    def __init__(self) -> None:
        self.vcpus = 2
        self.plugged: list[str] = []
        self.called: list[str] = []

    def suspend(self):
        self.called.append("suspend")

    def resume(self):
        self.called.append("resume")

    def state(self):
        return [libvirt.VIR_DOMAIN_RUNNING, 0]

    def XMLDesc(self, _):  # noqa: N802
        return RUNNING

    def vcpusFlags(self, _):  # noqa: N802
        return self.vcpus

    def setVcpusFlags(self, vcpus, _):  # noqa: N802
        self.called.append(f"{vcpus} vCPUs")
        if vcpus > 4:
            error = libvirt.libvirtError("virDomainSetVcpusFlags() failed")
            text = f"requested vcpus is greater than max allowable vcpus for the live domain: {vcpus} > 4"
            error.err = (libvirt.VIR_ERR_INVALID_ARG, 10, text, 2, None, None, None, 0, 0)
            raise error
        self.vcpus = vcpus

    def attachDeviceFlags(self, xml, _):  # noqa: N802
        self.plugged.append(xml)


class Connection:
    """As :class:`harness.backends.kvm.connection.Connection`, to one domain."""

    def __init__(self, domain):
        self.domain = domain

    def call(self, operation, work, _):
        try:
            return work(SimpleNamespace(lookupByUUIDString=lambda _: self.domain))
        except libvirt.libvirtError as error:
            raise translated(error, "kvm", operation) from error


def machine_of(domain: Domain, *, kvm: bool) -> Sizes:
    host = SimpleNamespace(name="kvm", connection=Connection(domain), ledger=NoLedger(), kind=SimpleNamespace(kvm=kvm))
    return Sizes(host, "0" * 32, SimpleNamespace(name="m"))


@pytest.mark.parametrize("vcpus", [4, 5])
def test_an_emulated_machine_stands_still_while_a_vcpu_comes(vcpus):
    """One that runs as soon as it is there runs the firmware; and where libvirt refuses, the machine goes on."""
    domain = Domain()
    with contextlib.suppress(Refused):
        machine_of(domain, kvm=False).resize(Deadline.after(5), vcpus=vcpus)
    assert domain.called[:3] == ["suspend", f"{vcpus} vCPUs", "resume"]


def test_a_real_processor_is_added_without_a_pause():
    domain = Domain()
    machine_of(domain, kvm=True).resize(Deadline.after(5), vcpus=4)
    assert "suspend" not in domain.called


def test_libvirt_says_how_many_vcpus_are_too_many():
    """In its own words; and memory that was asked for in the same breath stays as it was."""
    domain = Domain()
    machine = machine_of(domain, kvm=True)
    with pytest.raises(Refused, match="greater than max allowable vcpus for the live domain: 5 > 4"):
        machine.resize(Deadline.after(5), vcpus=5, memory=Size(512 * MiB))
    assert (domain.vcpus, domain.plugged) == (2, [])
    machine.resize(Deadline.after(5), vcpus=4, memory=Size(512 * MiB))
    assert domain.vcpus == 4
    assert len(domain.plugged) == 1
