"""What the contract must know of vSphere and its twin, and of nothing else; by pyVmomi itself, not by our driver.

``test_contract_vsphere_*.py`` see what documents of vSphere leave open, or what only others reported, and note it with
its figures: of hosts of the backend ``vsphere`` alone, twins included, and by pyVmomi as its users write it wherever
our driver would hide what the host does. A test there fails where the driver rests on what is not so; all else is a
note.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.core import Deadline, Pending, wait_for
from harness.lab.twins import settings_of

if TYPE_CHECKING:
    from tests.contract.site import Site


@contextlib.contextmanager
def foreign(site: Site) -> Iterator[str]:
    """A machine that somebody made by hand: off, without our annotation, in the datacenter's own folder."""
    from pyVmomi import vim

    settings: Any = settings_of(site.host, site.lab.path, site.run.id)
    with content(site) as service:
        (datacenter,) = every(service, vim.Datacenter, settings.datacenter)
        (host,) = every(service, vim.HostSystem, settings.esxi)
        store = next(one for one in datacenter.datastore if settings.datastore in (None, one.name))
        spec = vim.vm.ConfigSpec(
            name=site.name("foreign"),
            memoryMB=64,
            numCPUs=1,
            guestId="otherGuest",
            files=vim.vm.FileInfo(vmPathName=f"[{store.name}]"),
        )
        made = done(datacenter.vmFolder.CreateVM_Task(spec, host.parent.resourcePool, host))
        try:
            yield made._moId
        finally:
            with contextlib.suppress(vim.fault.VimFault):
                done(made.Destroy_Task())


def present(site: Site, machine: str) -> bool:
    """Whether the inventory still has the machine."""
    return machine in _uuids(site)


def processes(site: Site, machine: str) -> list[int]:
    """The twin's QEMU processes of this machine; of a machine that is gone: those of no machine at all."""
    twin = site.record()
    assert twin is not None, "only a twin's machines run here"
    running = {pid: words for pid, words in _emulators() if any(twin.folder.encode() in word for word in words)}
    known = _uuids(site)
    if machine in known:
        return [pid for pid, words in running.items() if known[machine].encode() in words]
    alive = {uuid.encode() for uuid in known.values()}
    return [pid for pid, words in running.items() if not alive & set(words)]


def _emulators() -> Iterator[tuple[int, list[bytes]]]:
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # not a process, or gone meanwhile
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system" in words[0]:
                yield int(folder.name), words


def _uuids(site: Site) -> dict[str, str]:
    """Every machine of the inventory: its identity there, and its UUID."""
    from pyVmomi import vim

    with content(site) as service:
        return {machine._moId: machine.config.uuid for machine in every(service, vim.VirtualMachine)}


def every(service: Any, kind: Any, name: str | None = None) -> list[Any]:
    """Everything of a kind in the inventory, or what of it has this name."""
    view = service.viewManager.CreateContainerView(service.rootFolder, [kind], True)
    try:
        return [found for found in view.view if name in (None, found.name)]
    finally:
        view.Destroy()


def done(task: Any) -> Any:
    """The task's result.

    Raises:
        AssertionError: it failed.
    """

    def ended() -> Any | Pending:
        state = task.info.state
        return task.info if state in ("success", "error") else Pending(state)

    info = wait_for("a task to end", ended, Deadline.after(120))
    assert info.state == "success", info.error
    return info.result


@contextlib.contextmanager
def content(site: Site) -> Iterator[Any]:
    """A login of our own, by pyVmomi as its users write it: ``ServiceContent``, attributes and all."""
    from pyVim.connect import Disconnect, SmartConnect

    settings: Any = settings_of(site.host, site.lab.path, site.run.id)
    address, port = settings.address
    trust = ssl.create_default_context(cafile=settings.ca)
    session = SmartConnect(host=address, port=port, user=settings.user, pwd=settings.reveal(), sslContext=trust)
    try:
        yield session.RetrieveContent()
    finally:
        with contextlib.suppress(vim_fault()):  # a test may have ended it
            Disconnect(session)


@pytest.fixture
def service(site: Site) -> Iterator[Any]:
    """A login of a test's own; a module of tests takes it by ``service = vsphere.service``."""
    with content(site) as logged_in:
        yield logged_in


def raw(service: Any, machine: Any) -> Any:
    """A machine of ours, as pyVmomi has it."""
    from pyVmomi import vim

    return vim.VirtualMachine(machine.id, service.rootFolder._stub)


def vim_fault() -> type[BaseException]:
    """What pyVmomi raises for a fault of the host."""
    from pyVmomi import vmodl

    return vmodl.MethodFault


def ended(task: Any, seconds: float = 120) -> Any:
    """The task's fault when it ended; None when it worked."""

    def over() -> Any | Pending:
        state = task.info.state
        return (task.info.error,) if state in ("success", "error") else Pending(state)

    return wait_for("a task to end", over, Deadline.after(seconds))[0]


def name_of(fault: Any) -> str:
    """A fault's type without its packages; ``accepted`` where there was none."""
    return "accepted" if fault is None else type(fault).__name__.rpartition(".")[2]


class Watch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 3)
