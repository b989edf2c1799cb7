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
        LabError: it refuses, does not answer in time, shows a wrong certificate, or lacks Hyper-V.
        UsageError: pywinrm, or what the way of logging in needs besides, is not installed.
    """
    try:
        from harness.backends.hyperv.hypervisor import open_host  # noqa: PLC0415 - pywinrm is an optional extra
    except ImportError as error:
        raise UsageError(
            f"the hyperv backend needs pywinrm: {error}", hint="pip install 'interop-harness[hyperv]'"
        ) from error
    return open_host(settings, context)
