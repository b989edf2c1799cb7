"""A vSphere machine in a cluster is kept from its rules: DRS does not move it, and HA does not restart it."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.vsphere import collector, placement, tasks
from harness.backends.vsphere.create import create
from tests.unit import vsphere_access
from tests.unit.vsphere_access import within

host, machine = vsphere_access.host, vsphere_access.machine


def test_a_machine_in_a_cluster_is_kept_from_its_rules(host, machine):
    """DRS does not move this one; that is said on the cluster, which has DRS on."""
    cluster = host.access.place.cluster
    path = "configurationEx"
    rules = collector.read_one(host.session, cluster, path, deadline=within())[path].drsVmConfig
    assert [rule.enabled for rule in rules if rule.key._GetMoId() == machine.id] == [False]


@pytest.fixture
def ruled(host):
    """Sets what the cluster does by itself, and sets it back."""
    cluster = host.access.place.cluster

    def rule(drs="fullyAutomated", ha=False):
        spec = vim.cluster.ConfigSpecEx(
            drsConfig=vim.cluster.DrsConfigInfo(enabled=bool(drs), defaultVmBehavior=drs or None),
            dasConfig=vim.cluster.DasConfigInfo(enabled=ha),
        )
        tasks.run(host.session, "rule", cluster, "ReconfigureComputeResource_Task", within(), spec, True)

    yield rule
    rule()


@pytest.mark.parametrize("drs", ["fullyAutomated", "partiallyAutomated", ""])
def test_a_machine_is_neither_restarted_nor_reset_by_ha(host, ruled, drs):
    """Whatever DRS does."""
    ruled(drs, ha=True)
    made = host.create()
    config = collector.read_one(host.session, host.access.place.cluster, "configurationEx", deadline=within())
    config = config["configurationEx"]
    (rule,) = [rule.dasSettings for rule in config.dasVmConfig if rule.key._GetMoId() == made.id]
    assert rule.restartPriority == "disabled"
    assert rule.vmToolsMonitoringSettings.vmMonitoring == "vmMonitoringDisabled"
    assert rule.vmToolsMonitoringSettings.clusterSettings is False
    moved = [rule for rule in config.drsVmConfig if rule.key._GetMoId() == made.id]
    assert bool(moved) is (drs == "fullyAutomated")
    made.destroy(within())


@pytest.mark.parametrize("drs", ["partiallyAutomated", "manual", ""])
def test_a_cluster_whose_owner_has_set_the_rule_is_left_as_it_is(host, ruled, drs):
    """The one that the check, the report and docs/vsphere-host.md ask for."""
    ruled(drs)
    before = host.front.calls["ReconfigureComputeResource_Task"]
    host.create().destroy(within())
    assert host.front.calls["ReconfigureComputeResource_Task"] == before


def test_where_the_cluster_may_not_be_changed_the_missing_rule_is_noted_and_nothing_fails(host):
    """Once: the account will not have gained the right by the next machine."""
    access = replace(host.access, notes={})
    host.front.refusing["ReconfigureComputeResource_Task"] = 1
    for _ in range(2):
        create(access, host.spec(), within()).destroy(within())
    assert access.notes[placement.NOTE].startswith("DRS may move or reset guests (")
    assert access.notes[placement.NOTE].endswith(f"without Host.Inventory.EditCluster {placement.RULE}")
    assert host.front.refusing["ReconfigureComputeResource_Task"] == 0
