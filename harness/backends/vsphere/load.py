"""How busy an ESXi's processors are, and how much of that is by machines of ours: the host's own average."""

from __future__ import annotations

from collections.abc import Callable

from harness.backends.model import Ownership
from harness.backends.views import ProcessorUse
from harness.backends.vsphere import collector, marks
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.core import Deadline, LabError

_USED = "summary.quickStats.overallCpuUsage"
_CORES, _SPEED = "summary.hardware.numCpuCores", "summary.hardware.cpuMhz"
_ANNOTATION = "config.annotation"
_SPAN = 20.0
"""Seconds that quickStats average: the interval of an ESXi's own real-time statistics (vSphere Web Services SDK,
"Performance", real-time interval)."""


def read(session: Session, esxi: Ref, ours: Callable[[Ownership], bool], deadline: Deadline) -> ProcessorUse:
    """One round trip for the host and all its machines.

    MHz are held against those of all cores at their nominal speed; a host that runs faster by turbo, or with
    hyper-threading, may show more than it has, and is taken to be as busy as can be. What the host does for a machine
    beside running it counts as foreign.

    Args:
        session: where.
        esxi: the host.
        ours: whether a mark is one of the lab's.
        deadline: when to give up.

    Raises:
        LabError: the host does not tell.
    """
    wanted = {"HostSystem": (_USED, _CORES, _SPEED), "VirtualMachine": (_USED, _ANNOTATION)}
    found = collector.beside(session, esxi, "vm", wanted, deadline, operation="load")
    host = found.pop(esxi, {})
    if not (host.get(_CORES) and host.get(_SPEED)) or _USED not in host:
        raise LabError(
            "the ESXi does not tell how busy its processors are",
            host=session.host,
            operation="load",
            hint="is it connected to its vCenter? The account needs System.Read on it",
        )
    cores, speed = int(host[_CORES]), float(host[_SPEED])
    marked = ((marks.owner_of(values.get(_ANNOTATION)), values) for values in found.values())
    used = sum(float(values.get(_USED) or 0) for owner, values in marked if owner is not None and ours(owner))
    return ProcessorUse(cores, min(float(host[_USED]) / speed, cores), min(used / speed, cores), _SPAN)
