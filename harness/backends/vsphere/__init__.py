"""The ``vsphere`` backend: guests on ESXi hosts, through a vCenter or an ESXi that stands alone.

pyVmomi itself is imported by :func:`connect` alone, so that lab files can be checked on machines without it.
"""

from __future__ import annotations

from harness.backends.protocol import Hypervisor
from harness.backends.registry import Context
from harness.backends.vsphere.settings import Settings
from harness.core import UsageError

__all__ = ["Settings", "connect"]


def connect(settings: Settings, context: Context) -> Hypervisor:
    """Log in to the vCenter or ESXi that ``settings.endpoint`` names.

    Raises:
        LabError: it refuses, does not answer in time, shows a wrong certificate, or lacks what the lab file names.
        UsageError: pyVmomi is not installed.
    """
    try:
        from harness.backends.vsphere.hypervisor import open_host  # noqa: PLC0415 - pyVmomi is an optional extra
    except ImportError as error:
        raise UsageError(
            f"the vsphere backend needs pyVmomi: {error}", hint="pip install 'interop-harness[vsphere]'"
        ) from error
    return open_host(settings, context)
