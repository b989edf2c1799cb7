"""What the contract must know of libvirt and QEMU, and of nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        connection.close()


def present(site: Site, machine: str) -> bool:
    """Whether libvirt still knows the domain."""
    connection = _connection(site)
    try:
        return machine in {domain.UUIDString() for domain in connection.listAllDomains()}
    finally:
        connection.close()


def processes(machine: str) -> list[int]:
    """The QEMU processes on this controller whose command line names the machine's UUID."""
    return [int(folder.name) for folder in Path("/proc").iterdir() if _runs(folder, machine)]


def _runs(folder: Path, machine: str) -> bool:
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0")
    except OSError:  # not a process, or gone meanwhile
        return False
    return b"qemu-system" in words[0] and machine.encode() in words


def _connection(site: Site) -> Any:
    from harness.backends.kvm import roots

    settings: Any = site.host.settings
    uri = settings.uri
    if settings.embedded:
        taken = [roots.Root(path, roots._alias(path)) for path in roots._taken]
        uri = taken[0].uri
    return _libvirt().open(uri)


def _libvirt() -> Any:
    import libvirt

    return libvirt
