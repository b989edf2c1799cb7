"""Keeping a cluster's hands off a machine: no moves by DRS, no restarts and resets by HA."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from harness.backends.protocol import Refused
from harness.backends.vsphere import collector, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.refs import Ref
from harness.core import Deadline, LabError

_DRS, _HA = "configurationEx.drsConfig.enabled", "configurationEx.dasConfig.enabled"
NOTE = "cluster rules"


def pin(host: HostAccess, machine: Ref, deadline: Deadline) -> None:
    """Make exceptions for one machine where its cluster has DRS or HA on, and rights allow.

    Where they do not, the cluster's events still tell of a move, and :attr:`HostAccess.notes` of the rule that is
    missing.
    """
    cluster = host.place.cluster
    if cluster is None or NOTE in host.notes:
        return
    on = collector.read_one(host.session, cluster, _DRS, _HA, deadline=deadline, operation="pin")
    changes: dict[str, Any] = {}
    if on.get(_DRS):
        info = vim.cluster.DrsVmConfigInfo(key=machine.managed, enabled=False)
        changes["drsVmConfigSpec"] = [vim.cluster.DrsVmConfigSpec(operation="add", info=info)]
    if on.get(_HA):
        monitoring = vim.cluster.VmToolsMonitoringSettings(vmMonitoring="vmMonitoringDisabled", clusterSettings=False)
        settings = vim.cluster.DasVmSettings(restartPriority="disabled", vmToolsMonitoringSettings=monitoring)
        rule = vim.cluster.DasVmConfigInfo(key=machine.managed, dasSettings=settings)
        changes["dasVmConfigSpec"] = [vim.cluster.DasVmConfigSpec(operation="add", info=rule)]
    if not changes:
        return
    try:
        tasks.run(
            host.session,
            "pin",
            cluster,
            "ReconfigureComputeResource_Task",
            deadline,
            vim.cluster.ConfigSpecEx(**changes),
            True,
            patient=True,
        )
    except (LabError, Refused) as error:
        host.notes[NOTE] = (
            f"DRS or HA may move or reset guests ({error.message}): let the account change the cluster"
            " (Host.Inventory.EditCluster), or exclude the resource pool's machines from both"
        )
