"""Keeping a cluster's hands off a machine: no moves by DRS, no restarts and resets by HA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyVmomi import vim

from harness.backends.protocol import Refused
from harness.backends.vsphere import collector, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.core import Deadline, LabError

_DRS, _HA = "configurationEx.drsConfig.enabled", "configurationEx.dasConfig.enabled"
_BEHAVIOR = "configurationEx.drsConfig.defaultVmBehavior"
_MOVING = "fullyAutomated"  # in the other modes DRS places a machine when it is powered on, and only advises then
PRIVILEGE = "Host.Inventory.EditCluster"
RULE = "the cluster's owner must let DRS place machines when they start and never move them, and turn HA off"
"""What must be so where the account may not except its machines one by one."""
NOTE = "cluster rules"
"""The key of what :attr:`HostAccess.notes` and the host's facts say of it."""


def meddling(session: Session, cluster: Ref, deadline: Deadline) -> tuple[str, ...]:
    """Which of a cluster's services would move, restart or reset machines: ``DRS``, ``HA``, both or none."""
    values = collector.read_one(session, cluster, _DRS, _BEHAVIOR, _HA, deadline=deadline, operation="pin")
    moving = values.get(_DRS) and str(values.get(_BEHAVIOR) or _MOVING) == _MOVING
    return tuple(name for name, on in (("DRS", moving), ("HA", values.get(_HA))) if on)


def warning(services: Sequence[str], why: str) -> str:
    """What a report says of a cluster that cannot be kept off.

    Args:
        services: as :func:`meddling` tells.
        why: what stands in the way.
    """
    return f"{' and '.join(services)} may move or reset guests ({why}): without {PRIVILEGE} {RULE}"


def pin(host: HostAccess, machine: Ref, deadline: Deadline) -> None:
    """Make exceptions for one machine where its cluster has DRS or HA on, and rights allow.

    Where they do not, the cluster's events still tell of a move, and :attr:`HostAccess.notes` of the rule that is
    missing.
    """
    cluster = host.place.cluster
    if cluster is None or NOTE in host.notes:
        return
    services = meddling(host.session, cluster, deadline)
    changes: dict[str, Any] = {}
    if "DRS" in services:
        info = vim.cluster.DrsVmConfigInfo(key=machine.managed, enabled=False)
        changes["drsVmConfigSpec"] = [vim.cluster.DrsVmConfigSpec(operation="add", info=info)]
    if "HA" in services:
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
        host.notes[NOTE] = warning(services, error.message)
