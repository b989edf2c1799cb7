"""The ``hyperv`` backend: guests on Windows Hyper-V hosts, through pywinrm and a resident PowerShell agent.

Pywinrm itself is imported by :func:`connect` alone, so that lab files can be checked on machines without it.
"""

from __future__ import annotations

from harness.backends.hyperv.settings import Settings
from harness.backends.protocol import Hypervisor
from harness.backends.registry import Context
from harness.core import UsageError

__all__ = ["Settings", "connect"]


def connect(settings: Settings, context: Context) -> Hypervisor:
    """Log in to the Windows host that ``settings.endpoint`` names.

    Raises:
        UsageError: always, for the verbs of its machines are not all there yet.
    """
    raise UsageError(
        "the hyperv backend cannot make machines yet: it reaches a host and calls its cmdlets, and that is all",
        host=context.host,
        operation="connect",
        hint="name a host of the kvm or vsphere backend",
    )
