"""What the contract must know of libvirt and QEMU, and of nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.lab.connect import scratch

if TYPE_CHECKING:
    from tests.contract.site import Site

_FOREIGN = """
<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
</domain>
"""


@contextlib.contextmanager
def foreign(site: Site) -> Iterator[str]:
    """A domain that somebody defined by hand: off, without our metadata."""
    connection = _connection(site)
    domain = connection.defineXML(_FOREIGN.format(name=site.name("foreign")))
    try:
        yield domain.UUIDString()
    finally:
        with contextlib.suppress(_libvirt().libvirtError):
            domain.undefine()


def present(site: Site, machine: str) -> bool:
    """Whether libvirt still knows the domain."""
    return machine in {domain.UUIDString() for domain in _connection(site).listAllDomains()}


def processes(site: Site, machine: str) -> list[int]:
    """The QEMU processes on this controller whose command line names the machine's UUID."""
    del site  # whatever host they are of
    return [int(folder.name) for folder in Path("/proc").iterdir() if _runs(folder, machine)]


def _runs(folder: Path, machine: str) -> bool:
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0")
    except OSError:  # not a process, or gone meanwhile
        return False
    return b"qemu-system" in words[0] and machine.encode() in words


def _connection(site: Site) -> Any:
    """One for the whole session: libvirt lets a process open its embedded driver some twenty times, closed or not."""
    from harness.backends.kvm import roots

    settings: Any = site.host.settings
    uri = settings.uri
    if settings.embedded:
        uri = roots.take(scratch(site.host) / "roots", only=settings.root and Path(settings.root)).uri
    if uri not in _kept:
        _kept[uri] = _libvirt().open(uri)
    return _kept[uri]


_kept: dict[str, Any] = {}


def _libvirt() -> Any:
    import libvirt

    return libvirt
