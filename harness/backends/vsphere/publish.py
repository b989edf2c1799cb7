"""Images as base machines: imported once by content, never powered on, with a snapshot that linked clones stand on.

A datastore has a base of its own: a linked clone's disk is a difference to its base's, so whichever ESXi runs the clone
must reach the base, and hosts of one vCenter share the folder of machines but not always a datastore.

Each publisher uploads under a name of its own; the last step gives the base its final name, which the host has but
once: the first to come so far serves all, whoever they are, and nobody ever waits for an upload that died.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.backends import codec
from harness.backends.model import Ownership, PublishedImage
from harness.backends.protocol import Ledger, Refused
from harness.backends.views import Owned, ResourceKind
from harness.backends.vsphere import collector, marks, nfc, tasks
from harness.backends.vsphere.access import Place
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.errors import Gone, NameTaken
from harness.backends.vsphere.inventory import child
from harness.backends.vsphere.refs import Ref, ref_of
from harness.backends.vsphere.session import Session
from harness.core import Deadline, LabError
from harness.image.model import Format, Image
from harness.image.store import Store

SNAPSHOT = "base"
_PREFIX = "interop-base-"
_PATHS = ("name", "config.annotation", "snapshot.rootSnapshotList", "datastore")
# The newest virtual hardware of each release that later ones run as well: Broadcom KB 315655 (2007240)
_HARDWARE = {(6, 5): 13, (6, 7): 14, (7, 0): 17, (8, 0): 20}


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes on one ESXi.

    Args:
        session: the login.
        place: where base machines go.
        owner: marks what is not complete yet.
        ledger: told of it before it is made.
        scratch: a folder of this controller: its processes wait for each other here.
        hardware: the virtual hardware's version, as ``vmx-20``.
    """

    session: Session
    place: Place
    owner: Ownership
    ledger: Ledger
    scratch: Path
    hardware: str

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """The base machine of the image: found, or imported now.

        Raises:
            LabError: it could not be converted or imported; nothing half-made stays.
        """
        self.ledger.check()
        found = self._published(image.digest, deadline)
        if found is None:
            lock = FileLock(self.scratch / f"publish-{self._name(image.digest)}.lock")
            try:
                with lock.acquire(timeout=deadline.seconds):
                    found = self._published(image.digest, deadline) or self._import(image, deadline)
            except Timeout as error:
                raise LabError(
                    f"another process of this controller was still publishing {image.name}",
                    host=self.session.host,
                    operation="publish",
                ) from error
        return PublishedImage(image.digest, found.id)

    def _name(self, digest: str) -> str:
        return base_name(digest, self.place.datastore.id)

    def _published(self, digest: str, deadline: Deadline) -> Ref | None:
        """The complete base machine: with its final name, the whole digest and the snapshot, and where clones go."""
        name = self._name(digest)
        found = child(self.session, self.place.folder, name, deadline)
        if found is None or found.kind != "VirtualMachine":
            return None
        values = collector.read(self.session, [found], _PATHS, deadline, operation="publish").get(found, {})
        wrong = None
        if image_of(values) != digest or snapshot_of(values) is None:
            wrong = f"its annotation or its snapshot {SNAPSHOT!r} is gone"
        elif set(values.get("datastore") or ()) != {self.place.datastore}:
            wrong = "it lies on another datastore than the guests"
        if wrong:
            raise LabError(
                f"{name} is there and is not what its name says: {wrong}",
                host=self.session.host,
                operation="publish",
                hint="somebody changed it: remove it in the vSphere client, and the next run imports it anew",
            )
        return found

    def _import(self, image: Image, deadline: Deadline) -> Ref:
        if Format.VMDK not in image.files:
            image = Store().convert(image, Format.VMDK, deadline)
        partial = f"{self._name(image.digest)}-{secrets.token_hex(3)}"
        known = json.loads(codec.dumps(self.owner))
        said = {"owner": known, "image": image.digest, "datastore": self.place.datastore.id}
        annotation = json.dumps({"interop": said}, sort_keys=True)
        wanted = nfc.Import(partial, annotation, image.files[Format.VMDK], image.virtual_size, self.hardware)
        with self.ledger.creating(ResourceKind.IMAGE, partial) as creation:
            made = nfc.import_disk(self.session, self.place, wanted, deadline)
            creation.made(made.id)
        arguments = (SNAPSHOT, "what linked clones stand on", False, False)
        tasks.run(self.session, "publish", made, "CreateSnapshot_Task", deadline, *arguments, patient=True)
        # A host says DuplicateName, or that the argument is invalid, when somebody else came first.
        with contextlib.suppress(NameTaken, Refused):
            tasks.run(self.session, "publish", made, "Rename_Task", deadline, self._name(image.digest), patient=True)
        first = self._published(image.digest, deadline)
        if first is None:
            raise LabError(f"{partial} could not be renamed", host=self.session.host, operation="publish")
        if first != made:
            tasks.run(self.session, "publish", made, "Destroy_Task", deadline, patient=True)
            self.ledger.gone(ResourceKind.IMAGE, made.id)
            return first
        self.ledger.gone(ResourceKind.IMAGE, made.id)  # complete, it belongs to no run
        return made

    def withdraw(
        self, handle: str, bases_of_machines: Iterable[str], deadline: Deadline, *, whole: bool = True
    ) -> None:
        """Remove a base machine; no-op when it is gone.

        Args:
            handle: its id.
            bases_of_machines: the bases that machines stand on now.
            deadline: when to give up.
            whole: also a complete one, which belongs to no run, whoever brought it.

        Raises:
            Refused: it is no base of ours, or machines stand on it.
        """
        ref = Ref("VirtualMachine", handle)
        try:
            values = collector.read_one(self.session, ref, *_PATHS, deadline=deadline, operation="remove")
        except Gone:
            return
        if image_of(values) is None:
            raise Refused(f"{handle} is no image of ours", host=self.session.host, operation="remove")
        if not whole and incomplete(ref, values) is None:
            return
        if handle in set(bases_of_machines):
            name = values.get("name", handle)
            raise Refused(f"machines stand on the image {name}", host=self.session.host, operation="remove")
        tasks.run(self.session, "remove", ref, "Destroy_Task", deadline, patient=True)


def base_name(digest: str, datastore: str) -> str:
    """The final name of an image's base machine.

    Args:
        digest: of the image.
        datastore: the id of the datastore it lies on; an ESXi without a vCenter has ids that no name may have.
    """
    return f"{_PREFIX}{digest[:12]}-{hashlib.sha256(datastore.encode()).hexdigest()[:8]}"


def image_of(values: Values) -> str | None:
    """The digest in a base machine's annotation; None for what is no base of ours."""
    said = _said(values)
    return None if said is None else str(said["image"])


def _said(values: Values) -> dict[str, str] | None:
    try:
        said = json.loads(values.get("config.annotation") or "null")["interop"]
        return said if said["image"] else None
    except (ValueError, TypeError, KeyError):
        return None


def snapshot_of(values: Values) -> Ref | None:
    """The snapshot that linked clones stand on, from ``snapshot.rootSnapshotList``."""
    for tree in values.get("snapshot.rootSnapshotList") or ():
        if tree.name == SNAPSHOT:
            return ref_of(tree.snapshot)
    return None


def incomplete(ref: Ref, values: Values) -> Owned | None:
    """A base machine that nobody finished; None for complete ones and for other machines."""
    said = _said(values)
    if said is None or values.get("name") == base_name(str(said["image"]), str(said.get("datastore", ""))):
        return None
    owner = marks.owner_of(values.get("config.annotation"))
    return Owned(ResourceKind.IMAGE, ref.id, owner, str(values.get("name", "")))


def hardware_for(version: str) -> str:
    """The virtual hardware to ask of an ESXi of this version: the newest that later ones have as well."""
    numbers = tuple(int(word) for word in version.split(".")[:2] if word.isdigit())
    fitting = [known for known in _HARDWARE if known <= numbers]
    return f"vmx-{_HARDWARE[max(fitting)] if fitting else min(_HARDWARE.values())}"
