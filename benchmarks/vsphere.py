"""What the vSphere driver costs: reading in bulk, publishing, round trips of each verb, memory."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

from benchmarks import verbs as each
from benchmarks.figures import Figure, Series, absolute, ratio, timed
from harness.backends.model import Shape
from harness.backends.protocol import Hypervisor
from harness.backends.vsphere import collector, tasks
from harness.backends.vsphere.hypervisor import VsphereHypervisor
from harness.backends.vsphere.refs import Ref
from harness.core import Deadline, Pending, UsageError, wait_for
from harness.guest import Guest
from harness.image.model import Format, Image
from harness.image.store import Store
from harness.lab.slots import Slots

MACHINES = 50
_PATIENCE = timedelta(minutes=10)
_PATHS = ("name", "runtime.powerState", "config.uuid")


@dataclass(slots=True)
class Trips:
    """How many round trips each verb of the protocol took, by method of the API."""

    hypervisor: VsphereHypervisor
    verbs: dict[str, Counter[str]] = field(default_factory=dict)

    @contextmanager
    def of(self, verb: str) -> Iterator[None]:
        """Count those of the block as ``verb``'s."""
        before = self.hypervisor.session.trips
        yield
        self.verbs[verb] = self.hypervisor.session.trips - before

    def lines(self) -> list[str]:
        """A line each: the verb, the number, and what it is made of."""
        return [
            f"{verb}: {counted.total()} ({', '.join(f'{name} {n}' for name, n in sorted(counted.items()))})"
            for verb, counted in self.verbs.items()
        ]


def deadline() -> Deadline:
    """Long enough for anything here."""
    return Deadline.after(_PATIENCE)


def measure(
    hypervisor: Hypervisor, slots: Slots, image: Image, runs: int, *, say: Callable[[str], None], twin: int | None
) -> list[Figure]:
    """All of it, on a host that has not got the image yet.

    Args:
        hypervisor: a host of the backend ``vsphere``.
        slots: for guests on it.
        image: the image.
        runs: samples of what takes milliseconds.
        say: told what is no ratio, a line each.
        twin: the twin's process, None where the host is real.
    """
    if not isinstance(hypervisor, VsphereHypervisor):
        raise UsageError(f"{hypervisor.name} is no host of the backend vsphere")
    image = Store().convert(image, Format.VMDK, deadline())
    found = [publishing(hypervisor, image, say), reading(hypervisor, runs)]
    trips, plugged = verbs(hypervisor, slots)
    for line in ["round trips of each verb:", *trips.lines(), *memory(twin)]:
        say(line)
    return [*found, *plugged]


def publishing(hypervisor: VsphereHypervisor, image: Image, say: Callable[[str], None]) -> Figure:
    """Bring the image to the host for the first time; say how much went over the wire."""
    size = image.files[Format.VMDK].stat().st_size
    took = timed(lambda: hypervisor.publish(image, deadline()))
    say(f"publish: {size / 1e6:.0f} MB in {took:.1f} s, {size / 1e6 / took:.0f} MB/s")
    return absolute("publish an image", Series("publish", (took,)), None)


def reading(hypervisor: VsphereHypervisor, runs: int) -> Figure:
    """Three properties of 50 machines: one question against attribute by attribute."""
    session, settings = hypervisor.session, hypervisor.session.settings
    address, port = settings.address
    plain = SmartConnect(host=address, port=port, user=settings.user, pwd=settings.reveal(), sslContext=session.context)
    made: list[Any] = []
    try:
        content = plain.RetrieveContent()
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.HostSystem, vim.Datacenter], True)
        found = list(view.view)
        view.Destroy()
        host: Any = next(one for one in found if isinstance(one, vim.HostSystem))
        datacenter: Any = next(one for one in found if isinstance(one, vim.Datacenter))
        store = vim.vm.FileInfo(vmPathName=f"[{host.datastore[0].name}]")
        for number in range(MACHINES):
            spec = vim.vm.ConfigSpec(name=f"bench-{number}", memoryMB=64, numCPUs=1, guestId="otherGuest", files=store)
            task = datacenter.vmFolder.CreateVM_Task(spec, host.parent.resourcePool, host)
            made.append(_result(hypervisor, task))
        refs = [Ref("VirtualMachine", machine._moId) for machine in made]  # noqa: SLF001  pyVmomi names it nowhere else

        def in_bulk() -> None:
            assert len(collector.read(session, refs, _PATHS, deadline(), operation="bench")) == MACHINES

        def by_attribute() -> None:
            assert all(machine.name and machine.runtime.powerState and machine.config.uuid for machine in made)

        bulk = Series("in bulk", tuple(timed(in_bulk) for _ in range(runs)))
        single = Series("by attribute", tuple(timed(by_attribute) for _ in range(runs)))
    finally:
        for machine in made:
            machine.Destroy_Task()
        Disconnect(plain)
    return ratio(f"3 properties of {MACHINES} machines, bulk / attributes", bulk, single, 0.2)


def _result(hypervisor: VsphereHypervisor, task: Any) -> Any:
    named = Ref("Task", task._moId)  # noqa: SLF001
    tasks.finish(hypervisor.session, "bench", named, deadline())
    return task.info.result


def verbs(hypervisor: VsphereHypervisor, slots: Slots) -> tuple[Trips, list[Figure]]:
    """Each verb once, on a machine with a guest: its round trips; and how long vCPUs take to be seen by the guest."""
    trips = Trips(hypervisor)
    guest = slots.fresh(Shape(vcpus=2, max_vcpus=4), deadline())
    try:
        added = Series("2 more vCPUs", (timed(lambda: _plug(trips, guest)),))
        each.run(hypervisor, guest, "guestinfo.hostname", trips.of)
        with trips.of("create"):
            another = slots.cold(Shape(), deadline(), boot=False)
        with trips.of("destroy"):
            slots.release(another)
    finally:
        slots.release(guest)
    return trips, [absolute("2 vCPUs added while running, until the guest has them", added, None)]


def _plug(trips: Trips, guest: Guest) -> None:
    with trips.of("resize"):
        guest.machine.resize(deadline(), vcpus=4)
    wait_for(
        f"4 CPUs present in {guest.name}",
        lambda: True if len(seen := guest.cpus.masks().present) == 4 else Pending(f"present: {sorted(seen)}"),
        deadline(),
    )


def memory(twin: int | None) -> list[str]:
    """Resident memory of this process and of a twin's, in MB, QEMU left out."""
    lines = [f"memory of this process: {_resident(os.getpid()):.0f} MB"]
    if twin is not None:
        children = [pid for pid in _children(twin) if b"qemu-system" not in _command(pid)]
        total = sum(_resident(pid) for pid in [twin, *children])
        lines.append(f"memory of the twin without its guests: {total:.0f} MB in {1 + len(children)} processes")
    return lines


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found] + [grand for child in found for grand in _children(int(child))]
