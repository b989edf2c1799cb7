"""What a host says of itself, read without changing anything on it."""

from __future__ import annotations

import re
import time

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import Firmware, Shape
from harness.backends.protocol import HostClock, HostLoad, Hypervisor
from harness.backends.views import ProcessorTimes, ProcessorUse
from harness.core import GiB, InteropError, Size

pytestmark = pytest.mark.read_only

_BUSY = 0.2
"""Seconds that may pass on a busy controller between a verb's last look at a clock and its caller's."""


def test_the_connection_is_a_hypervisor_under_the_labs_name(site):
    """Its verbs are all there."""
    assert isinstance(site.hypervisor, Hypervisor)
    assert site.hypervisor.name == site.host.name


def test_a_host_says_what_it_is(site, seen):
    """Product, version, size, and what runs its vCPUs."""
    facts = site.hypervisor.facts(site.deadline())
    seen.host = {
        "product": facts.product,
        "version": facts.version,
        "build": facts.build,
        "accelerated": facts.accelerated,
        "twin": facts.twin,
        "details": facts.details,
        "backend": site.host.backend,
    }
    assert facts.product
    assert re.fullmatch(r"\d+(\.\d+)+", facts.version), facts.version
    assert facts.accelerated
    assert facts.cpus >= 1
    assert facts.memory > GiB // 4
    assert facts.max_vcpus >= 1


def test_facts_stay_the_same(site):
    """Asked twice, and over a second connection."""
    again = site.connect()
    try:
        first = site.hypervisor.facts(site.deadline())
        assert site.hypervisor.facts(site.deadline()) == first
        assert again.facts(site.deadline()) == first
    finally:
        again.close()


def test_capabilities_are_known_without_a_guest(site, seen):
    """At least one firmware, or nothing could boot."""
    able = site.hypervisor.capabilities(Shape())
    seen.capabilities = sorted(capability.name for capability in able)
    assert all(isinstance(capability, Capability) for capability in able)
    assert able & {Capability.BIOS, Capability.UEFI}


def test_capabilities_depend_on_the_shape(site):
    """A machine without room for more vCPUs or memory cannot get more."""
    tight = site.hypervisor.capabilities(Shape(vcpus=1, max_vcpus=None, max_memory=None))
    assert not tight & {Capability.CPU_HOT_ADD, Capability.MEMORY_HOT_ADD}


@pytest.mark.parametrize("firmware", Firmware)
def test_capabilities_answer_for_either_firmware(site, firmware):
    """Also where the host has only one of them."""
    able = site.hypervisor.capabilities(Shape(firmware=firmware, memory=Size(GiB)))
    if Capability[firmware.name] in able:
        assert Capability[firmware.name].value.endswith(firmware.name)


@pytest.mark.proves(Capability.HOST_CLOCK)
def test_the_hosts_clock_goes_on_and_states_its_uncertainty(site):
    """As it is when the verb returns. Of an embedded host, and of a twin, it is the controller's own."""
    host = site.hypervisor
    assert isinstance(host, HostClock)
    first = host.clock(site.deadline())
    between = time.time()
    second = host.clock(site.deadline())
    after = time.time()
    assert first.uncertainty >= 0
    assert second.at + second.uncertainty >= first.at - first.uncertainty
    if site.host.embedded or site.host.twin:
        for reading, now in ((first, between), (second, after)):
            assert -_BUSY - reading.uncertainty <= reading.at - now <= reading.uncertainty


def test_a_host_tells_how_busy_its_processors_are(site):
    """Never more than they are; of counters, the later reading is of later, and nothing is undone."""
    host = site.hypervisor
    assert isinstance(host, HostLoad)
    first, second = host.load(site.deadline()), host.load(site.deadline())
    for reading in (first, second):
        assert reading.processors > 0
        if isinstance(reading, ProcessorUse):
            assert reading.ours >= 0
            assert 0 <= reading.busy <= reading.processors
            assert reading.span > 0
    if isinstance(first, ProcessorTimes):
        assert second.at > first.at
        assert second.busy >= first.busy > 0


def test_a_machine_nobody_made_cannot_be_opened(site):
    """The error names the host and what was looked for."""
    unknown = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(InteropError) as caught:
        site.hypervisor.open(unknown, site.deadline())
    assert unknown in str(caught.value)
    assert caught.value.host == site.host.name


def test_a_new_run_owns_nothing(site):
    """Whatever else is on the host belongs to others."""
    assert site.owned() == []
    assert list(site.hypervisor.owned(site.deadline(), "nobody-was-ever-called-so")) == []
