"""A vSphere host as a run opens it: what it can do, and what it tells of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.check import Examined
from harness.backends.model import PublishedImage
from harness.backends.protocol import HostClock, HostLoad, Hypervisor
from harness.backends.vsphere import collector, marks
from harness.backends.vsphere.refs import Ref
from harness.core import LabError
from tests.unit import vsphere_host, vsphere_hypervisor
from tests.unit.vsphere_host import certificate, within
from tests.unit.vsphere_hypervisor import OWNER, opened, order, remarks

place, host = vsphere_hypervisor.place, vsphere_hypervisor.host


def test_a_host_does_all_that_its_kind_must(host):
    assert isinstance(host, Hypervisor)
    assert isinstance(host, HostClock)
    assert isinstance(host, HostLoad)
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


def test_a_host_tells_how_busy_it_is_in_one_question(place, host):
    """MHz of vcsim's canned statistics: the host's against its cores, and of its machines none is ours."""
    front, _ = place
    esxi = host._found.place.host
    paths = ("summary.quickStats.overallCpuUsage", "summary.hardware.numCpuCores", "summary.hardware.cpuMhz")
    used, cores, speed = (collector.read_one(host.session, esxi, *paths, deadline=within())[path] for path in paths)
    front.calls.clear()
    found = host.load(within())
    assert front.calls["POST"] == front.calls["RetrievePropertiesEx"] == 1
    assert (found.processors, found.ours) == (cores, 0)
    assert found.busy == pytest.approx(min(used / speed, cores))
    assert found.span == 20


def test_a_machine_is_ours_by_its_mark_and_its_use_is_that_of_the_host_behind_it(monkeypatch, host):
    """What vcsim has no figures for is answered in its stead."""
    esxi = host._found.place.host
    ours = marks.written(marks.Mark(OWNER, order(PublishedImage("d", "h")), "folder"))
    strange = marks.written(marks.Mark(replace(OWNER, token="another"), order(PublishedImage("d", "h")), "folder"))
    use = "summary.quickStats.overallCpuUsage"
    told = {
        esxi: {use: 9000, "summary.hardware.numCpuCores": 8, "summary.hardware.cpuMhz": 3000},
        Ref("VirtualMachine", "vm-1"): {use: 3000, "config.annotation": ours},
        Ref("VirtualMachine", "vm-2"): {use: 1500, "config.annotation": strange},
        Ref("VirtualMachine", "vm-3"): {use: 1500},
        Ref("VirtualMachine", "vm-4"): {"config.annotation": ours},
    }
    monkeypatch.setattr(collector, "beside", lambda *args, **named: dict(told))
    found = host.load(within())
    assert (found.busy, found.ours) == (3, 1)
    del told[esxi][use]
    with pytest.raises(LabError, match="does not tell how busy"):
        host.load(within())
