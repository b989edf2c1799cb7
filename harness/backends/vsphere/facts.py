"""What an ESXi is: product, version, size."""

from __future__ import annotations

from harness.backends.views import HostFacts
from harness.backends.vsphere import collector
from harness.backends.vsphere.inventory import Found
from harness.backends.vsphere.session import Session
from harness.core import Deadline, Size

_PATHS = (
    "config.product.version",
    "config.product.build",
    "summary.hardware.vendor",
    "summary.hardware.model",
    "summary.hardware.cpuModel",
    "summary.hardware.numCpuThreads",
    "summary.hardware.memorySize",
    "summary.currentEVCModeKey",
    "capability.maxSupportedVcpus",
    "capability.maxHostSupportedVcpus",
)
_MAX_VCPUS = 128  # of every ESXi since 6.0 (VMware Configuration Maximums), where the host does not tell


def read(session: Session, found: Found, deadline: Deadline) -> HostFacts:
    """One round trip."""
    values = collector.read_one(session, found.place.host, *_PATHS, deadline=deadline, operation="facts")
    about = session.about
    version = str(values.get("config.product.version") or about.version)
    build = str(values.get("config.product.build") or about.build)
    details = {
        "ESXi": found.esxi,
        "product": f"VMware ESXi {version} build {build}",
        "managed by": f"{about.fullName}, API {about.apiVersion}",
        "hardware": " ".join(str(values.get(f"summary.hardware.{key}") or "") for key in ("vendor", "model")).strip(),
        "CPU": str(values.get("summary.hardware.cpuModel") or ""),
        "EVC": str(values.get("summary.currentEVCModeKey") or "none"),
        "datastore": f"{found.datastore}, {found.free} of {found.capacity} free",
    }
    twin = session.settings.twin
    cpus = int(values.get("summary.hardware.numCpuThreads") or 1)
    return HostFacts(
        product="VMware ESXi",
        version=version,
        build=build,
        accelerated=session.settings.accelerated if twin else "vmware",
        cpus=cpus,
        memory=Size(values.get("summary.hardware.memorySize") or 0),
        max_vcpus=_most_vcpus(values, None if twin else cpus),
        twin=twin,
        details={key: value for key, value in details.items() if value},
    )


def _most_vcpus(values: collector.Values, processors: int | None) -> int:
    """Of one machine: what the host's software knows, what its hardware and licence allow, and its processors.

    ESXi starts no machine with more vCPUs than it has logical processors (vSphere Virtual Machine Administration,
    "Virtual CPU Limitations"); what emulates its guests does.
    """
    told = [values.get(f"capability.{name}") for name in ("maxSupportedVcpus", "maxHostSupportedVcpus")]
    most = min((int(each) for each in told if each), default=_MAX_VCPUS)
    return min(most, processors or most)
