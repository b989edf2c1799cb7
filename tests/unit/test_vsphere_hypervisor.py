"""A vSphere host as a run opens it: what it can do, and what it tells of itself."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.check import Examined
from harness.backends.protocol import HostClock, Hypervisor
from harness.core import LabError
from tests.unit import vsphere_host, vsphere_hypervisor
from tests.unit.vsphere_host import certificate, within
from tests.unit.vsphere_hypervisor import opened, remarks

place, host = vsphere_hypervisor.place, vsphere_hypervisor.host


def test_a_host_does_all_that_its_kind_must(host):
    assert isinstance(host, Hypervisor)
    assert isinstance(host, HostClock)
    assert isinstance(host, Examined)


def test_facts_are_the_hosts_own(host):
    facts = host.facts(within())
    assert (facts.product, facts.accelerated, facts.twin) == ("VMware ESXi", "vmware", False)
    assert facts.build.isdigit()  # what `when: build:` of expectations compares
    assert facts.details["product"] == f"VMware ESXi {facts.version} build {facts.build}"
    assert "vCenter" in facts.details["managed by"]


def test_an_esxi_without_a_vcenter_is_opened_as_well(tmp_path):
    """It knows no folders of machines, so ours lie beside the others'."""
    with (
        vsphere_host.vcsim("-esx") as upstream,
        vsphere_host.front(upstream, certificate(tmp_path / "tls", "127.0.0.1")) as front,
    ):
        alone = opened((front, tmp_path), datacenter=None, esxi=None, datastore=None)
        assert all(remark.fine for remark in remarks(alone).values())
        assert list(alone.owned(within())) == []
        assert front.calls["CreateFolder"] == 0
        alone.close()


def test_a_host_without_a_clock_of_its_own_says_so(host):
    """As vcsim is: the twin's front supplies one."""
    with pytest.raises(LabError, match="clock"):
        host.clock(within())
