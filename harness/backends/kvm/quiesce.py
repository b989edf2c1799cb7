"""Checkpoints of a running machine's disks, taken while the guest's agent holds its file systems frozen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import libvirt

from harness.backends.kvm.checkpoints import RUNNING, Checkpoints
from harness.backends.kvm.monitor import MonitorError
from harness.backends.kvm.xml import Element, node, text
from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored, Refused
from harness.backends.views import ResourceKind
from harness.core import Deadline, InteropError, LabError

_THAW_SECONDS = 60.0
"""An agent that was slow to freeze is slow to thaw, and by then the caller's time may be over."""


class Quiesce(Checkpoints):
    """The verb of :class:`Quiescing`.

    libvirt's own quiesced snapshots (``VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE``) are external ones, which 9.0 can neither
    revert nor delete. So QEMU takes one inside the qcow2 files, and libvirt is told of it as of one of a machine that
    was off: it knows how to revert and delete such a one.
    """

    def quiesced_checkpoint(self, name: str, deadline: Deadline) -> None:
        """``guest-fsfreeze-freeze`` and ``guest-fsfreeze-thaw`` of QEMU's agent, and QEMU's snapshots in between."""
        with self._lock:
            self._host.ledger.check()
            self._fit(name, deadline, RUNNING)
            as_files = self._needs_saved_state(PowerState.OFF, deadline)
            domain = self._xml(deadline, inactive=True)
            with self._host.ledger.creating(ResourceKind.CHECKPOINT, f"{self._uuid}/{name}") as creation:
                if as_files:
                    with self._states.taking(name, domain, deadline, disks=False), self._frozen(deadline):
                        self._snapshot_disks(name, deadline)
                else:
                    with self._frozen(deadline):
                        self._snapshot_disks(name, deadline)
                    self._tell_libvirt(name, domain, deadline)
                creation.made(f"{self._uuid}/{name}")

    def _frozen(self, deadline: Deadline) -> AbstractContextManager[None]:
        if not self._agent_connected(deadline):
            raise self._ignored("no agent has opened the channel, so nobody freezes the guest's file systems")
        return still(lambda: self._freeze(deadline), self._thaw)

    def _freeze(self, deadline: Deadline) -> None:
        frozen = self._agent({"execute": "guest-fsfreeze-freeze"}, deadline)
        if type(frozen) is not int or frozen < 1:
            raise self._ignored("the guest froze no file system")

    def _thaw(self) -> None:
        try:
            self._agent({"execute": "guest-fsfreeze-thaw"}, Deadline.after(_THAW_SECONDS))
        except (GuestIgnored, Refused) as error:
            raise self._ignored(
                f"the guest was told to thaw its file systems, and did not: {error.message}",
                hint="whoever writes stands still in it: reset the machine, or revert it",
            ) from error

    def _snapshot_disks(self, name: str, deadline: Deadline) -> None:
        """All disks at one moment, or none: QMP ``transaction``."""
        self._host.ledger.check()
        take = "blockdev-snapshot-internal-sync"
        actions = [
            {"type": take, "data": {"device": disk["node-name"], "name": name}} for disk in self._qcow2(deadline)
        ]
        try:
            self._monitor("transaction", deadline, actions=actions)
        except MonitorError as error:
            raise LabError(str(error), host=self._host.name, operation="checkpoint") from error

    def _tell_libvirt(self, name: str, domain: Element, deadline: Deadline) -> None:
        """Or take it away from the disks again: what libvirt does not know of, nobody would find."""
        images = [disk["image"] for disk in self._qcow2(deadline)]
        times = [one["date-sec"] for image in images for one in image.get("snapshots", ()) if one["name"] == name]
        known = node(
            "domainsnapshot",
            None,
            node("name", name),
            node("state", "shutoff"),
            node("creationTime", max(times)),
            node("memory", snapshot="no"),
            domain,
        )
        redefine = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
        try:
            self._act("checkpoint", lambda found: found.snapshotCreateXML(text(known), redefine), deadline)
        except InteropError:
            self._forget_in_disks(name, deadline)
            raise

    def _ignored(self, message: str, hint: str | None = None) -> GuestIgnored:
        return GuestIgnored(message, host=self._host.name, operation="checkpoint", hint=hint)


@contextlib.contextmanager
def still(freeze: Callable[[], None], thaw: Callable[[], None]) -> Iterator[None]:
    """Around what must find file systems frozen: whatever happens meanwhile, they thaw.

    Args:
        freeze: raises Refused where it thawed by itself what it had frozen (``qga/commands-posix.c``), anything else
            where nobody knows: an agent that does not answer in time freezes all the same.
        thaw: does no harm where nothing is frozen.

    Raises:
        GuestIgnored: it was refused.
    """
    frozen = True
    try:
        try:
            freeze()
        except Refused as error:
            frozen = False
            raise GuestIgnored(
                f"the guest did not freeze its file systems: {error.message}", host=error.host, operation="checkpoint"
            ) from error
        yield
    finally:
        if frozen:
            thaw()
