"""The ``kvm`` backend: QEMU guests through libvirt, embedded in this process, local or remote.

libvirt itself is imported by :func:`connect` alone, so that lab files can be checked on machines without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.backends.kvm.settings import Settings
from harness.backends.protocol import Hypervisor
from harness.backends.registry import Context
from harness.core import UsageError

__all__ = ["Settings", "connect"]

_VARIABLE = "LIBVIRT_LOG_OUTPUTS"


def connect(settings: Settings, context: Context) -> Hypervisor:
    """Open the host that ``settings.uri`` names.

    Raises:
        LabError: it refuses, does not answer in time, or lacks something; with a hint.
        UsageError: libvirt's Python binding is not installed.
    """
    context.scratch.mkdir(parents=True, exist_ok=True)
    with _log_to(context.scratch / "libvirt.log"):
        try:
            from harness.backends.kvm.hypervisor import open_host  # noqa: PLC0415 - libvirt is an optional extra
        except ImportError as error:
            raise UsageError(
                f"the kvm backend needs libvirt's Python binding: {error}", hint="pip install 'interop-harness[kvm]'"
            ) from error
    return open_host(settings, context)


@contextmanager
def _log_to(file: Path) -> Iterator[None]:
    """While libvirt is first imported: its embedded driver would log to stderr and tear progress displays."""
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = f"3:file:{file}"
    try:
        yield
    finally:
        del os.environ[_VARIABLE]  # a child process would fail to import libvirt if the file's folder were gone by then
