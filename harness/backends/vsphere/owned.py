"""What of ours is on the host, and taking it away again: the reaper's view."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from harness.backends.model import Ownership
from harness.backends.protocol import Refused
from harness.backends.views import Owned, ResourceKind
from harness.backends.vsphere import collector, marks, publish, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.datastore import Files
from harness.backends.vsphere.errors import Gone, NotThere
from harness.backends.vsphere.machine import erase
from harness.backends.vsphere.publish import Publisher
from harness.backends.vsphere.refs import Ref
from harness.core import Deadline

_ANNOTATION = "config.annotation"
_MACHINE = ("name", _ANNOTATION, "runtime.host")


@dataclass(frozen=True, slots=True)
class Belongings:
    """Finds and removes.

    Args:
        host: where.
        files: the datastore's.
        publisher: knows base machines.
    """

    host: HostAccess
    files: Files
    publisher: Publisher

    def all(self, deadline: Deadline) -> list[Owned]:
        """Machines first, then what would be in the way of nothing: images, files, folders.

        Machines are looked for in the whole datacenter, for somebody may have moved one out of our folder.
        """
        machines = collector.children(
            self.host.session, self.host.place.datacenter, "VirtualMachine", _MACHINE, deadline, operation="owned"
        )
        here = {ref: values for ref, values in machines.items() if values.get("runtime.host") == self.host.place.host}
        found: list[Owned] = []
        for ref, values in here.items():
            half = publish.incomplete(ref, values)
            owner = marks.owner_of(values.get(_ANNOTATION))
            if half:
                found.append(half)
            elif owner and publish.image_of(values) is None:
                found.append(Owned(ResourceKind.MACHINE, ref.id, owner, str(values.get("name", ""))))
        found += self._loose_files(machines, deadline)
        found += self._empty_folders(deadline)
        return found

    def remove_machine(self, thing: Owned, deadline: Deadline) -> None:
        """With everything that belongs to it; idempotent.

        Raises:
            Refused: it does not carry our mark, or another run's.
        """
        ref = Ref("VirtualMachine", thing.handle)
        try:
            values = collector.read_one(self.host.session, ref, _ANNOTATION, deadline=deadline, operation="remove")
        except Gone:
            self.host.ledger.gone(ResourceKind.MACHINE, thing.handle)
            return
        owner = marks.owner_of(values.get(_ANNOTATION))
        if owner is None or publish.image_of(values) is not None:
            raise self._refused(f"the machine {thing.handle} is not ours")
        self._refuse_others(thing, owner)
        mark = marks.read(values.get(_ANNOTATION))
        erase(self.host, ref, mark.files if mark else None, deadline)

    def remove_image(self, thing: Owned, deadline: Deadline) -> None:
        """A base machine, whole or half imported; refused while a machine stands on it."""
        machines = collector.children(
            self.host.session, self.host.place.datacenter, "VirtualMachine", (_ANNOTATION,), deadline
        )
        known = [marks.read(values.get(_ANNOTATION)) for values in machines.values()]
        standing = {mark.spec.image.handle for mark in known if mark}
        self.publisher.withdraw(thing.handle, standing, deadline, whole=thing.owner is None)
        self.host.ledger.gone(ResourceKind.IMAGE, thing.handle)

    def remove_folder(self, thing: Owned, deadline: Deadline) -> None:
        """Files without a machine, or a folder of machines that is empty."""
        if thing.handle.startswith(f"{self.host.root}/"):
            found = marks.folder_mark(thing.handle.removeprefix(f"{self.host.root}/"))
            if found is None:
                raise self._refused(f"the folder {thing.handle} is not ours")
            self._refuse_others(thing, found[1])
            self.files.delete(thing.handle, deadline)
            return
        ref = Ref("Folder", thing.handle)
        with contextlib.suppress(Gone):
            values = collector.read_one(
                self.host.session, ref, "name", "parent", "childEntity", deadline=deadline, operation="remove"
            )
            mark = marks.run_folder_mark(str(values.get("name")))
            if values.get("parent") != self.host.place.folder or mark is None:
                raise self._refused(f"the folder {values.get('name')} is not ours")
            self._refuse_others(thing, mark)
            if values.get("childEntity"):
                raise self._refused(f"the folder {values.get('name')} is not empty")
            tasks.run(self.host.session, "remove", ref, "Destroy_Task", deadline, patient=True)

    def _loose_files(self, machines: dict[Ref, Values], deadline: Deadline) -> Iterator[Owned]:
        """Folders of files with our mark that no machine, wherever it runs, calls its own."""
        known = [marks.read(values.get(_ANNOTATION)) for values in machines.values()]
        taken = {mark.files for mark in known if mark}
        try:
            names = self.files.listed(self.host.root, deadline)
        except NotThere:
            return
        for name in names:
            mark = marks.folder_mark(name)
            if mark and f"{self.host.root}/{name}" not in taken:
                yield Owned(ResourceKind.FOLDER, f"{self.host.root}/{name}", mark[1], mark[0])

    def _empty_folders(self, deadline: Deadline) -> Iterator[Owned]:
        """Those of runs; one with machines in it goes with the last of them."""
        session, above = self.host.session, self.host.place.folder
        folders = collector.children(session, above, "Folder", ("name", "parent", "childEntity"), deadline)
        for ref, values in folders.items():
            name = str(values["name"])
            mark = marks.run_folder_mark(name)
            if mark and values.get("parent") == above and not values.get("childEntity"):
                yield Owned(ResourceKind.FOLDER, ref.id, mark, name)

    def _refuse_others(self, thing: Owned, marked: Ownership) -> None:
        """A thing with the right run but another token is somebody else's."""
        if thing.owner and (thing.owner.run, thing.owner.token) != (marked.run, marked.token):
            raise self._refused(
                f"{thing.handle} carries the mark of run {marked.run}, not of the one it was to be removed for"
            )

    def _refused(self, text: str) -> Refused:
        return Refused(text, host=self.host.name, operation="remove")
