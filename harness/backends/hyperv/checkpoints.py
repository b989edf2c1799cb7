"""Checkpoints: standard ones, which hold memory where there is some; or production ones, which hold disks alone."""

from __future__ import annotations

import re

from harness.backends.hyperv.access import NO_FILE, QUIET
from harness.backends.hyperv.base import OFF, OK, PAUSED, RUNNING, SAVED, VM, answered, state_is, together
from harness.backends.hyperv.errors import Failed
from harness.backends.hyperv.power import Power
from harness.backends.hyperv.steps import Ref, Step, exactly
from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored, WrongState
from harness.backends.views import ResourceKind
from harness.core import Deadline, LabError, Pending, wait_for

TYPES = {"standard": "Standard", "production": "ProductionOnly"}
"""What ``Set-VM`` calls them. Its *Production* takes one with memory where the guest has no VSS, and says nothing."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ANY = (RUNNING, PAUSED, SAVED, OFF)
_POINT = "point"
_DELTA = r"\.avhdx?$"
_MERGING = ("MergingDisks", "DeletingSnapshot", "ApplyingSnapshot")


class Checkpoints(Power):
    """The verbs of :class:`Checkpointed` and :class:`Quiescing`. Of which type they are is a setting of the machine."""

    def checkpoint(self, name: str, deadline: Deadline, *, memory: bool) -> None:
        """Of a machine that is off it holds disks alone; of one that runs, memory as well."""
        with self._lock:
            if memory and self._host.settings.checkpoints == "production":
                raise self._refused(
                    "production checkpoints hold no memory", "checkpoint", "write checkpoints: standard"
                )
            self._take(name, deadline, (RUNNING, PAUSED) if memory else (OFF,))

    def quiesced_checkpoint(self, name: str, deadline: Deadline) -> None:
        """A production one: the guest's VSS daemon freezes its file systems, or the host says that it did not."""
        with self._lock:
            self._host.ledger.check()
            usual = TYPES[self._host.settings.checkpoints]
            production = TYPES["production"]
            try:
                self._take(name, deadline, (RUNNING,), self._typed(production).only(OK))
            except Failed as error:
                raise GuestIgnored(
                    f"the guest's VSS daemon froze nothing: {error.message}",
                    host=self._host.name,
                    operation="checkpoint",
                ) from error
            finally:
                if usual != production:  # later ones must hold memory again
                    self._act("checkpoint", answered(deadline), tuple(PowerState), self._typed(usual), repeatable=True)

    def _take(self, name: str, deadline: Deadline, states: tuple[PowerState, ...], *before: Step) -> None:
        if not _NAME.fullmatch(name):
            raise self._refused(f"{name!r} cannot be a checkpoint's name: letters, digits, - _ .", "checkpoint")
        take = Step("Checkpoint-VM", {"VM": VM, "SnapshotName": name, **QUIET}, when=OK, unless=_POINT)
        with self._host.ledger.creating(ResourceKind.CHECKPOINT, f"{self._id}/{name}") as creation:
            _, answer = self._act("checkpoint", deadline, states, self._points(name, "Id"), *before, take)
            creation.made(f"{self._id}/{name}")
        if answer[0]:
            raise self._refused(f"a checkpoint {name!r} is there already", "checkpoint")

    @staticmethod
    def _typed(kind: str) -> Step:
        return Step("Set-VM", {"VM": VM, "CheckpointType": kind, **QUIET})

    def revert(self, name: str, deadline: Deadline) -> None:
        """The host leaves a machine with memory saved: it is started then. Its console begins anew at 0."""
        with self._lock:
            _, answer = self._act(
                "revert",
                deadline,
                _ANY,
                self._points(name, "Id"),
                self._pump(fresh=True).only(_POINT),
                Step("Restore-VMSnapshot", {"VMSnapshot": Ref(_POINT), **QUIET}, when=_POINT),
                Step("Get-VM", {"Id": self._id}, name="after", when=_POINT),  # without it nothing is started either
                state_is("kept", SAVED, PAUSED, of="after").only("after"),
                Step("Start-VM", {"VM": Ref("kept"), **QUIET}, when="kept"),
                self._becomes(deadline, RUNNING, OFF, when=_POINT),
            )
            if not answer[0]:
                raise WrongState(f"there is no checkpoint {name!r}", host=self._host.name, operation="revert")
            self._await("revert", deadline, answer[-1], RUNNING, OFF)

    def checkpoints(self, deadline: Deadline) -> tuple[str, ...]:
        """The names present, oldest first."""
        points = Step("Get-VMSnapshot", {"VM": VM}, get=("Name", "CreationTime"), allow=("ObjectNotFound",))
        rows = self._ask("checkpoints", deadline, points)[1]
        return tuple(str(row["Name"]) for row in sorted(rows, key=lambda row: str(row["CreationTime"])))

    def drop_checkpoint(self, name: str, deadline: Deadline) -> None:
        """Its disks are merged by the host afterwards, which takes no other change meanwhile."""
        with self._lock:
            _, answer = self._act(
                "drop",
                deadline,
                _ANY,
                self._points(name),
                Step("Remove-VMSnapshot", {"VMSnapshot": Ref(_POINT), **QUIET}, when=_POINT),
                self._idle(deadline),
                repeatable=True,
            )
            if not answer[-1]:
                self._merged(deadline)
            self._host.ledger.gone(ResourceKind.CHECKPOINT, f"{self._id}/{name}")

    def checkpoint_files(self, deadline: Deadline) -> tuple[str, ...]:
        """The differencing disks that it writes to, and those beside its disks, where the host keeps them."""
        drives = Step("Get-VMHardDiskDrive", {"VM": VM}, get=("Path",), where=(("Path", _DELTA),))
        folder = {"LiteralPath": self._host.file(self._mark.folder, "")}
        beside = Step("Get-ChildItem", folder, get=("Name",), where=(("Name", _DELTA),), allow=NO_FILE)
        _, used, lying = self._ask("checkpoint_files", deadline, drives, beside)
        names = {re.split(r"[\\/]", str(row["Path"]))[-1] for row in used} | {str(row["Name"]) for row in lying}
        return tuple(sorted(names))

    def _idle(self, deadline: Deadline) -> Step:
        where = (("SecondaryOperationalStatus?", f"^(?!({'|'.join(_MERGING)})$)"),)
        return Step("Get-VM", {"Id": self._id}, get=("State",), where=where, within=together(deadline))

    def _merged(self, deadline: Deadline) -> None:
        def look() -> bool | Pending:
            return True if self._ask("drop", deadline, self._idle(deadline))[1] else Pending("it is merging disks")

        wait_for(
            f"{self.spec.name} to merge disks",
            look,
            deadline,
            every=0.5,
            fault=lambda text: LabError(text, host=self._host.name, operation="drop"),
        )

    def _points(self, name: str, *get: str) -> Step:
        """The checkpoint of this name: ``-Name`` takes wildcards, so it is compared here."""
        where = (("Name", exactly(name)),)
        return Step("Get-VMSnapshot", {"VM": VM}, name=_POINT, get=get, where=where, allow=("ObjectNotFound",))
