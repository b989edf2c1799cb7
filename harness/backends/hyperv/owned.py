"""What of ours is on the host, and taking it away again: the reaper's view."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.backends.hyperv import marks
from harness.backends.hyperv.access import NO_FILE, HostAccess
from harness.backends.hyperv.machine import erase
from harness.backends.hyperv.publish import Publisher
from harness.backends.hyperv.steps import Row, Step, exactly
from harness.backends.model import Ownership
from harness.backends.protocol import Refused
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline

_VHDX = ".vhdx"
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Belongings:
    """Finds and removes.

    Args:
        host: where.
        publisher: knows base disks.
    """

    host: HostAccess
    publisher: Publisher

    def all(self, deadline: Deadline) -> list[Owned]:
        """Machines, folders of machines that are not there, half uploads: one request."""
        machines = Step("Get-VM", self.host.everywhere, get=("Id", "Name", "Notes"))
        found, folders, files = self.host.agents.run(
            "owned", [machines, self._listed("machines"), self._listed("images")], deadline, repeatable=True
        )
        things, known = [], set()
        for row in found:
            whose = self._whose(row)
            if whose:
                known.add(whose[1])
                things.append(Owned(ResourceKind.MACHINE, str(row["Id"]).lower(), whose[0], str(row["Name"])))
        for kind, rows in ((ResourceKind.FOLDER, folders), (ResourceKind.IMAGE, files)):
            for row in rows:
                name = str(row["Name"])
                named = marks.named(name, self.host.ours)
                if named and name not in known:
                    things.append(Owned(kind, name, named[1], named[0]))
        return things

    def remove_machine(self, thing: Owned, deadline: Deadline) -> None:
        """With everything that belongs to it; idempotent.

        Raises:
            Refused: it does not carry our mark, or another run's.
        """
        find = self._found(thing.handle)
        rows = self.host.agents.run("remove", [find], deadline, repeatable=True)[0]
        if rows:
            whose = self._whose(rows[0])
            if whose is None:
                raise self._refused(f"the machine {thing.handle} is not ours")
            self._refuse_others(thing, whose[0])
            erase(self.host, str(rows[0]["Id"]), whose[1], deadline)
        self.host.ledger.gone(ResourceKind.MACHINE, thing.handle)

    def remove_folder(self, thing: Owned, deadline: Deadline) -> None:
        """A folder, and whatever machine has its name: one that was made and not yet marked."""
        self._refuse_others(thing, self._marked(thing.handle))
        erase(self.host, None, thing.handle, deadline)

    def remove_image(self, thing: Owned, deadline: Deadline) -> None:
        """A half upload; a whole base disk while no machine stands on it is nobody's business but a person's."""
        if thing.handle.endswith(_VHDX):
            raise self._refused(f"{thing.handle} is a whole image: remove it on the host when no machine stands on it")
        self._refuse_others(thing, self._marked(thing.handle))
        self.publisher.discard(thing.handle, deadline)
        self.host.ledger.gone(ResourceKind.IMAGE, thing.handle)

    def _whose(self, row: Row) -> tuple[Ownership, str] | None:
        """Whose a machine is, and its folder's name: by its notes, or by its name where it was not marked yet."""
        name = str(row["Name"])
        mark = marks.read(str(row["Notes"] or ""), self.host.ours)
        if mark:
            return mark.owner, mark.folder
        named = marks.named(name, self.host.ours)
        return (named[1], name) if named else None

    def _found(self, handle: str) -> Step:
        """The machine of a handle: its id; or, of one that was to be made and nobody knows whether it was, its name."""
        get = ("Id", "Name", "Notes")
        if _ID.fullmatch(handle):
            return self.host.found(handle, get=get)
        return Step("Get-VM", self.host.everywhere, where=(("Name", exactly(handle)),), get=get)

    def _listed(self, folder: str) -> Step:
        path = str(self.host.settings.path(folder))
        return Step(
            "Get-ChildItem", {"LiteralPath": path}, get=("Name",), allow=(*NO_FILE, "DirUnauthorizedAccessError")
        )

    def _marked(self, name: str) -> Ownership:
        found = marks.named(name, self.host.ours)
        if found is None:
            raise self._refused(f"{name} is not ours")
        return found[1]

    def _refuse_others(self, thing: Owned, marked: Ownership) -> None:
        """A thing with the right run but another token is somebody else's."""
        if thing.owner and (thing.owner.run, thing.owner.token) != (marked.run, marked.token):
            raise self._refused(
                f"{thing.handle} carries the mark of run {marked.run}, not of the one it was to be removed for"
            )

    def _refused(self, text: str) -> Refused:
        return Refused(text, host=self.host.name, operation="remove")
