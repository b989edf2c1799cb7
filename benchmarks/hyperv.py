"""What the Hyper-V driver costs: operations against ``run_ps``, images on their way, connecting, round trips, bytes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import winrm
from requests.adapters import HTTPAdapter

from benchmarks import verbs as each
from benchmarks.figures import Figure, Series, absolute, ratio, timed
from harness.backends.hyperv import upload
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.hypervisor import HypervHypervisor
from harness.backends.hyperv.session import Agent
from harness.backends.hyperv.settings import Settings
from harness.backends.hyperv.shell import Shell
from harness.backends.hyperv.steps import Step
from harness.backends.model import Shape
from harness.backends.protocol import Hypervisor
from harness.core import Deadline, MiB, UsageError
from harness.image.model import Format, Image
from harness.image.store import Store
from harness.lab.slots import Slots
from harness.lab.twins import Twin

_PATIENCE = timedelta(minutes=30)
_OPERATIONS = 100
_CHECKS = 10
_SENT = 8 * MiB
_GET_VM = Step("Get-VM", get=("Id", "State"))
_WAYS = (("basic", True), ("ntlm", True), ("ntlm", False))


def deadline() -> Deadline:
    """Long enough for anything here."""
    return Deadline.after(_PATIENCE)


@dataclass(slots=True)
class Wire:
    """Bytes of HTTP bodies that this process sent and received."""

    sent: int = 0
    received: int = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count them in the block."""
        send = HTTPAdapter.send

        def counted(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            answer = send(adapter, request, **options)
            self.sent += len(request.body or b"")
            self.received += len(answer.content)
            return answer

        HTTPAdapter.send = counted  # type: ignore[assignment,method-assign]
        try:
            yield
        finally:
            HTTPAdapter.send = send  # type: ignore[method-assign]


@dataclass(slots=True)
class Trips:
    """How many Send and Receive pairs each verb of the protocol took."""

    hypervisor: HypervHypervisor
    verbs: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def of(self, verb: str) -> Iterator[None]:
        """Count those of the block as ``verb``'s."""
        before = self.hypervisor.agents.trips
        yield
        self.verbs[verb] = self.hypervisor.agents.trips - before


def measure(
    hypervisor: Hypervisor, slots: Slots, image: Image, runs: int, *, say: Callable[[str], None], twin: Twin | None
) -> list[Figure]:
    """All of it, on a host that has not got the image yet.

    Args:
        hypervisor: a host of the backend ``hyperv``.
        slots: for guests on it.
        image: the image.
        runs: samples of what takes long.
        say: told what is no ratio, a line each.
        twin: what stands in for the host; None where it is real.
    """
    if not isinstance(hypervisor, HypervHypervisor):
        raise UsageError(f"{hypervisor.name} is no host of the backend hyperv")
    found = [*connecting(hypervisor, runs), *operations(hypervisor, runs, twin)]
    found += images(hypervisor, Store().convert(image, Format.VHDX, deadline()), say)
    trips = verbs(hypervisor, slots)
    say("Send and Receive pairs of each verb: " + ", ".join(f"{verb} {count}" for verb, count in trips.verbs.items()))
    say(night(slots))
    return found


def connecting(hypervisor: HypervHypervisor, runs: int) -> list[Figure]:
    """Importing the driver, and from nothing to the first answer of an agent."""
    settings = hypervisor.access.settings

    def importing(what: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {what}"], check=True)

    def first_answer() -> None:
        door = Door(settings, hypervisor.name)
        with closing(Agent(lambda until: Shell(door, until), hypervisor.name)) as agent:
            agent.run("bench", [_GET_VM], deadline())

    driver = Series("driver", tuple(timed(importing("harness.backends.hyperv.hypervisor")) for _ in range(runs)))
    library = Series("pywinrm", tuple(timed(importing("winrm")) for _ in range(runs)))
    connected = Series("connect", tuple(timed(first_answer) for _ in range(runs)))
    return [
        ratio("import of the driver / of pywinrm alone", driver, library, None),
        absolute("from nothing to the first cmdlet's answer", connected, None),
    ]


def operations(hypervisor: HypervHypervisor, runs: int, twin: Twin | None) -> list[Figure]:
    """One cmdlet through the resident agent against pywinrm's ``run_ps``, over every way that the host offers."""
    own = hypervisor.access.settings
    ways: list[tuple[Any, bool]] = [(own.auth, own.tls)] if twin is None else list(_WAYS)
    found = []
    for auth, tls in ways:
        settings = own if twin is None else Settings(twin=True, auth=auth, tls=tls).at_twin(twin.said or {})
        door = Door(settings, hypervisor.name)
        with closing(Agent(lambda until, door=door: Shell(door, until), hypervisor.name)) as agent:  # type: ignore[misc]
            for _ in range(5):
                agent.run("bench", [_GET_VM], deadline())
            ours = tuple(timed(lambda: agent.run("bench", [_GET_VM], deadline())) for _ in range(_OPERATIONS))
        session = winrm.Session(
            settings.url,
            auth=(settings.user or "", settings.reveal() or ""),
            transport=auth,
            ca_trust_path=None if settings.ca is None else str(settings.ca),
            proxy=None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # run_ps reads CLIXML and says so
            theirs = tuple(timed(lambda: session.run_ps("Import-Module Hyper-V; Get-VM")) for _ in range(runs))  # noqa: B023
        name = f"{auth}{' over TLS' if tls else ', sealed'}"
        found.append(ratio(f"an operation / run_ps, {name}", Series("agent", ours), Series("run_ps", theirs), 0.01))
    return found


def images(hypervisor: HypervHypervisor, image: Image, say: Callable[[str], None]) -> list[Figure]:
    """An image that the host fetches, and a file that is sent through WinRM."""
    size = image.files[Format.VHDX].stat().st_size
    found = []
    if hypervisor.access.settings.pull is not None:
        took = timed(lambda: hypervisor.publish(image, deadline()))
        say(f"publish, fetched and hashed: {size / 1e6:.0f} MB in {took:.1f} s, {size / 1e6 / took:.1f} MB/s")
        found.append(absolute("publish an image, fetched", Series("publish", (took,)), None))
    with TemporaryDirectory() as folder:
        source = Path(folder, "sent")
        source.write_bytes(bytes(range(256)) * (_SENT // 256))
        target = str(hypervisor.access.settings.path("bench-sent"))
        took = timed(lambda: upload.send(hypervisor.access, source, target, deadline()))
    hypervisor.agents.run("bench", [Step("Remove-Item", {"LiteralPath": target, "Force": True})], deadline())
    say(f"sent through WinRM: {_SENT / 1e6:.0f} MB in {took:.1f} s, {_SENT / 1e6 / took:.1f} MB/s")
    return found


def verbs(hypervisor: HypervHypervisor, slots: Slots) -> Trips:
    """Each verb once, on a machine with a guest."""
    trips = Trips(hypervisor)
    guest = slots.fresh(Shape(), deadline())
    try:
        each.run(hypervisor, guest, "OSName", trips.of)
        with trips.of("create"):
            another = slots.cold(Shape(), deadline(), boot=False)
        with trips.of("destroy"):
            slots.release(another)
    finally:
        slots.release(guest)
    return trips


def night(slots: Slots) -> str:
    """What checks send to the host and get from it: each has a fresh guest, a look at it, its console and events."""
    wire = Wire()
    spent = []
    slots.release(slots.fresh(Shape(), deadline()))
    with wire.counting():
        for _ in range(_CHECKS):
            before = wire.sent + wire.received
            guest = slots.fresh(Shape(), deadline())
            machine: Any = guest.machine
            machine.view(deadline())
            machine.console().read(0, 1 << 16)
            machine.events(deadline())
            slots.release(guest)
            spent.append(wire.sent + wire.received - before)
    middle = statistics.median(spent)
    return (
        f"bytes on the wire: {middle / 1e3:.0f} kB a check (median of {_CHECKS}, of these "
        f"{wire.sent / (wire.sent + wire.received):.0%} sent), {middle * 100 / 1e6:.1f} MB a night of 100 checks"
    )
