"""What a Windows host is, read without a guest."""

from __future__ import annotations

from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.steps import Step
from harness.backends.views import HostFacts
from harness.core import Deadline, Size

MOST_VCPUS = 240
"""Of a generation 2 machine since Server 2016; generation 1 has 64."""


def read(host: HostAccess, deadline: Deadline) -> HostFacts:
    """One request."""
    asked = [
        Step("Get-VMHost", get=("Name", "LogicalProcessorCount", "MemoryCapacity")),
        Step("Get-CimInstance", {"ClassName": "Win32_OperatingSystem"}, get=("Version", "BuildNumber", "Caption")),
    ]
    hosts, systems = host.agents.run("facts", asked, deadline, repeatable=True)
    found, system = hosts[0], systems[0]
    return HostFacts(
        product="Microsoft Hyper-V",
        version=str(system["Version"]),
        build=str(system["BuildNumber"]),
        accelerated="tcg" if host.twin else "hyperv",
        cpus=int(found["LogicalProcessorCount"]),
        memory=Size(int(found["MemoryCapacity"])),
        max_vcpus=MOST_VCPUS,
        twin=host.twin,
        details={
            "host name": str(found["Name"]),
            "system": str(system["Caption"]),
            "powershell": host.agents.engine,
        },
    )
