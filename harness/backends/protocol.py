"""The narrow waist: what a hypervisor must do for the harness, and no more.

A backend is one package that implements :class:`Hypervisor` and :class:`Machine`, declares its optional
:class:`~harness.backends.capabilities.Capability` members, and passes ``tests/contract``, which also demands
*declared if and only if implemented*.

Rules for every verb:

* Verbs are synchronous and take a :class:`~harness.core.waiting.Deadline`. They may be called from several threads;
  the driver serialises.
* When a verb returns, the host itself reports the new state. A verb that finds its work already done is a no-op,
  except where its docstring says otherwise; one that cannot be done in the present state raises
  :class:`WrongState` and changes nothing.
* Whatever is created on a host goes through the :class:`Ledger` first; mutating verbs call :meth:`Ledger.check`.
* The host's faults are :class:`~harness.core.errors.LabError` with host and operation; a refused state change on a
  machine of ours is :class:`WrongState` or :class:`Refused`, never a bare driver exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.backends.capabilities import Capability
from harness.backends.model import DiskSpec, Endpoint, MachineSpec, NicSpec, PublishedImage, Shape
from harness.backends.views import (
    AddressView,
    ClockReading,
    DiskView,
    HostEvent,
    HostFacts,
    MachineView,
    Owned,
    ProcessorTimes,
    ProcessorUse,
    ResourceKind,
    ServiceView,
)
from harness.core import Deadline, InteropError, LabError, Size
from harness.image.model import Image


class WrongState(InteropError):
    """The verb makes no sense in the machine's present state; nothing was changed."""


class Refused(InteropError):
    """The host understood and said no: beyond a limit, feature off. Nothing was changed."""


class LeaseLost(LabError):
    """The run no longer holds what it would act on (expired, reaped, taken over)."""


class Moved(LabError):
    """The host took the machine elsewhere or reset it by itself in the middle: what was seen means nothing."""


class NotQuiet(LabError):
    """Others used the host's processors while a test measured: what was seen means nothing."""


class Creation(Protocol):
    """One journalled intent. Leave the ``with`` block after :meth:`made`, or the thing is presumed half-made."""

    def made(self, handle: str) -> None:
        """The host has it now, under this name; synced to disk before this returns."""


class Ledger(Protocol):
    """How a backend tells the journal what it is about to create. ``harness.lab.journal`` implements it."""

    def creating(self, kind: ResourceKind, name: str) -> AbstractContextManager[Creation]:
        """Record the intent, synced, before the block runs. On an exception the entry stays, for the reaper."""

    def gone(self, kind: ResourceKind, handle: str) -> None:
        """The host no longer has it."""

    def check(self) -> None:
        """Verify that this run still holds its lease.

        Raises:
            LeaseLost: it does not; the verb must not act.
        """


@runtime_checkable
class Console(Protocol):
    """A machine's serial port. Output is kept by the host from power-on; reading never consumes it."""

    def read(self, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes of output from ``offset`` (bytes since power-on); empty when there are no more."""

    def write(self, data: bytes) -> None:
        """Type into the port."""


@runtime_checkable
class Machine(Protocol):
    """A virtual machine as its hypervisor sees it."""

    @property
    def id(self) -> str:
        """The host's own stable identity of the machine (UUID, moref); names are display only."""

    @property
    def spec(self) -> MachineSpec:
        """What was asked for when it was created."""

    def view(self, deadline: Deadline) -> MachineView:
        """The host's present view, read afresh."""

    def start(self, deadline: Deadline) -> None:
        """Power on. Raises :class:`WrongState` when it runs already; a saved machine continues."""

    def stop(self, deadline: Deadline) -> None:
        """Cut the power. No-op when off; discards saved state."""

    def reset(self, deadline: Deadline) -> None:
        """Press the reset button: same power session, new boot. Raises :class:`WrongState` unless running."""

    def destroy(self, deadline: Deadline) -> None:
        """Remove the machine with its disks, checkpoints, seed and metadata, whatever its state. Idempotent."""

    def resize(self, deadline: Deadline, *, vcpus: int | None = None, memory: Size | None = None) -> None:
        """Set vCPUs or memory. Off: any size the host allows. Running: needs the hot-plug capability, else Refused."""

    def endpoint(self, deadline: Deadline) -> Endpoint:
        """Where the controller reaches the guest's ssh port. Never asks integration services."""

    def addresses(self, deadline: Deadline) -> tuple[AddressView, ...]:
        """What the host believes the guest's addresses are, each with its source. Evidence only."""

    def console(self) -> Console:
        """The first serial port."""


@runtime_checkable
class Hypervisor(Protocol):
    """One host of a lab."""

    @property
    def name(self) -> str:
        """The lab's name of the host."""

    def facts(self, deadline: Deadline) -> HostFacts:
        """Product, version, size: read once per connection, without a guest."""

    def capabilities(self, shape: Shape) -> AbstractSet[Capability]:
        """What this host can do with a machine of this shape; answers without a guest."""

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """Bring the image to the host, once by content; safe when two controllers publish at once."""

    def create(self, spec: MachineSpec, deadline: Deadline) -> Machine:
        """Make a machine that is off and cold; its system disk is a linked clone of the image."""

    def open(self, machine_id: str, deadline: Deadline) -> Machine:
        """The machine of this id, made earlier by us. Raises :class:`LabError` when there is none."""

    def owned(self, deadline: Deadline, run: str | None = None) -> Iterable[Owned]:
        """Everything on the host that carries our mark: of one run, or of all."""

    def remove(self, thing: Owned, deadline: Deadline) -> None:
        """Delete what :meth:`owned` listed; idempotent. Refuses what does not carry our mark."""

    def close(self) -> None:
        """Drop the connection; touches nothing on the host."""


# One small protocol per optional capability. Those of machines first, then those of hypervisors.


@runtime_checkable
class Pausable(Protocol):
    """PAUSE: vCPUs stop, memory stays (``virsh suspend``, ``Suspend-VM``)."""

    def pause(self, deadline: Deadline) -> None:
        """Stop the vCPUs. Raises :class:`WrongState` unless running."""

    def resume(self, deadline: Deadline) -> None:
        """Let them go on. Raises :class:`WrongState` unless paused."""


@runtime_checkable
class Savable(Protocol):
    """SAVE: state goes to disk, the machine is not running afterwards (``virsh managedsave``, ``Save-VM``)."""

    def save(self, deadline: Deadline) -> None:
        """Put memory on disk. Raises :class:`WrongState` unless running or paused."""

    def restore(self, deadline: Deadline) -> None:
        """Continue from disk. Raises :class:`WrongState` unless saved."""


@runtime_checkable
class Checkpointed(Protocol):
    """CHECKPOINT, CHECKPOINT_WITH_MEMORY: named points to go back to."""

    def checkpoint(self, name: str, deadline: Deadline, *, memory: bool) -> None:
        """Take one. With ``memory`` the machine must be running or paused; without, it must be off."""

    def revert(self, name: str, deadline: Deadline) -> None:
        """Go back. A memory checkpoint leaves it running, a disk one off. Raises :class:`WrongState` if unknown."""

    def checkpoints(self, deadline: Deadline) -> tuple[str, ...]:
        """The names present, oldest first."""

    def drop_checkpoint(self, name: str, deadline: Deadline) -> None:
        """Forget one and free its space; no-op when absent."""

    def checkpoint_files(self, deadline: Deadline) -> tuple[str, ...]:
        """What the host's storage keeps for this machine's checkpoints, in words of the host's own: delta disks, saved
        memory, snapshots inside disks; also what belongs to none of those named. Read afresh.
        """


@runtime_checkable
class Quiescing(Protocol):
    """QUIESCE: a checkpoint of a running machine's disks, taken while the guest's own service holds them still."""

    def quiesced_checkpoint(self, name: str, deadline: Deadline) -> None:
        """Take one, without memory: it is reverted to and dropped as any other, and a revert leaves the machine off.

        The guest goes on when this returns, and also when it raises; where it does not answer to that any more, the
        error says so. Raises :class:`WrongState` unless running, :class:`GuestIgnored` when its service does nothing.
        """


@runtime_checkable
class ShutdownRequest(Protocol):
    """SHUTDOWN: the guest is asked, through ACPI or integration services."""

    def shutdown(self, deadline: Deadline) -> None:
        """Ask once; returns when the host reports *off*. Raises :class:`WrongState` unless running,
        :class:`GuestIgnored` when the deadline passes and the guest is still up.
        """

    def reboot(self, deadline: Deadline) -> None:
        """Ask once; returns when the request was accepted (a reboot is proved by a new boot id)."""


class GuestIgnored(InteropError, AssertionError):
    """The host passed a request on and the guest did nothing about it in time.

    A finding about the product, unless a check expects it: hence an assertion.
    """


@runtime_checkable
class DiskPlug(Protocol):
    """DISK_HOT_ADD: data disks come and go while the machine runs (and while it is off)."""

    def attach_disk(self, disk: DiskSpec, deadline: Deadline) -> DiskView:
        """Add an empty disk."""

    def detach_disk(self, serial: str, deadline: Deadline) -> None:
        """Take it away and delete it; returns when guest and host have let go."""


@runtime_checkable
class DiskResize(Protocol):
    """DISK_RESIZE: a data disk grows while in use."""

    def resize_disk(self, serial: str, size: Size, deadline: Deadline) -> None:
        """Grow to ``size``; shrinking is :class:`Refused`."""


@runtime_checkable
class FullDisk(Protocol):
    """FULL_DISK: a small disk of the host, made for it, runs full under the machine's data disks there."""

    def attach_scarce_disk(self, disk: DiskSpec, deadline: Deadline) -> DiskView:
        """Add an empty disk that takes room on the small disk of the host as the guest writes to it."""

    def fill_host(self, deadline: Deadline) -> None:
        """Take all the room that is left there."""

    def free_host(self, deadline: Deadline) -> None:
        """Give it back, and let the machine go on where its host does not by itself. Idempotent."""


@runtime_checkable
class DiskNames(Protocol):
    """No capability: for machines whose disks get their serial numbers from the host, whatever was asked."""

    def disk_names(self, deadline: Deadline) -> Mapping[str, str]:
        """By what the guest reads as serial number (lower case, no dashes), the ``DiskSpec.serial`` it stands for."""


@runtime_checkable
class NicPlug(Protocol):
    """NIC_HOT_ADD: NICs come and go while the machine runs (and while it is off)."""

    def attach_nic(self, nic: NicSpec, deadline: Deadline) -> None:
        """Add one; its MAC is its identity."""

    def detach_nic(self, mac: str, deadline: Deadline) -> None:
        """Take it away; returns when guest and host have let go."""


@runtime_checkable
class LinkSwitch(Protocol):
    """LINK_STATE: the virtual cable."""

    def link(self, mac: str, up: bool, deadline: Deadline) -> None:
        """Plug the cable in or pull it."""


@runtime_checkable
class Ballooning(Protocol):
    """DYNAMIC_MEMORY: the host takes memory from a running guest by its balloon, and gives it back."""

    def balloon(self, memory: Size, deadline: Deadline) -> None:
        """Tell the guest to do with so much; returns when it was told. :class:`Refused` beyond what the machine has;
        raises :class:`WrongState` unless running.
        """

    def assigned(self, deadline: Deadline) -> Size:
        """What the host sees that the guest has now. Raises :class:`WrongState` unless running."""


@runtime_checkable
class Services(Protocol):
    """HEARTBEAT: the host's view of the guest's integration services."""

    def services(self, deadline: Deadline) -> tuple[ServiceView, ...]:
        """All the host knows of; the one called ``heartbeat`` says whether the guest's services answer now."""


@runtime_checkable
class Exchange(Protocol):
    """EXCHANGE: what the guest's integration services tell the host about the guest."""

    def exchange(self, question: str, deadline: Deadline) -> str:
        """Ask the guest's services by their own protocol (guest agent command, KVP key, guestinfo key)."""


@runtime_checkable
class FileCopy(Protocol):
    """FILE_COPY: a file goes into the guest without network."""

    def copy_file(self, source: Path, target: str, deadline: Deadline, *, overwrite: bool = False) -> None:
        """Copy; an existing target is :class:`Refused` unless ``overwrite``."""


@runtime_checkable
class ServiceSwitch(Protocol):
    """SERVICE_TOGGLE: an integration service is kept from a guest, or given to it again."""

    def toggle(self, service: str, on: bool, deadline: Deadline) -> None:
        """Switch one on or off, as :class:`Services` calls it (``timesync``); how it is now is told there, too.

        Raises :class:`Refused` where the host has no switch for it.
        """


@runtime_checkable
class Screenshot(Protocol):
    """SCREENSHOT: what a monitor would show."""

    def screenshot(self, deadline: Deadline) -> bytes:
        """A PNG."""


@runtime_checkable
class NmiInjector(Protocol):
    """NMI."""

    def nmi(self, deadline: Deadline) -> None:
        """Inject one. Raises :class:`WrongState` unless running."""


@runtime_checkable
class HostEvents(Protocol):
    """HOST_EVENTS: the host's own record of what happened to a machine."""

    def events(self, deadline: Deadline) -> tuple[HostEvent, ...]:
        """All since the machine was created or opened, oldest first."""


class Unwatched:
    """No capability, and no verb: marks machines of whose moves and halts their host's record says nothing we know.

    Around tests it is not read then: no :data:`~harness.backends.views.MOVED` and no
    :data:`~harness.backends.views.HELD` can be in it, and it may fail to be read.
    """


@runtime_checkable
class HostClock(Protocol):
    """HOST_CLOCK, of a hypervisor: its wall clock, with the uncertainty reached."""

    def clock(self, deadline: Deadline) -> ClockReading:
        """What it shows when this returns, however long it took to find out."""


@runtime_checkable
class HostLoad(Protocol):
    """No capability, of a hypervisor that tells how busy its processors are, and how much of it is ours.

    Asked every second or so beside a test that measures, and so one cheap question; it never asks the guest.
    """

    def load(self, deadline: Deadline) -> ProcessorTimes | ProcessorUse:
        """Counters, or, where the host keeps none for us, its own average of the last moments."""
