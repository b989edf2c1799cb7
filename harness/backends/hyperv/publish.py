"""Images as read-only base disks, named by content: fetched by the host or sent to it, then hashed there.

Each publisher brings the file under a name of its own, which says whose it is; only what has the right hash gets the
final name, and the first to come so far serves all.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.backends.hyperv import marks, upload
from harness.backends.hyperv.access import NO_FILE, HostAccess
from harness.backends.hyperv.offer import offered
from harness.backends.hyperv.steps import Masked, Step, Value
from harness.backends.model import PublishedImage, ResourceKind
from harness.core import Deadline, InteropError, LabError
from harness.image.model import Format, Image
from harness.image.store import Store


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes on one host.

    Args:
        host: where.
    """

    host: HostAccess

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """The base disk of the image: found, or brought now.

        Raises:
            LabError: it could not be converted or brought; nothing half-made keeps a content's name.
        """
        self.host.ledger.check()
        target = self.host.image(image.digest)
        if not self._there(target, deadline):
            lock = FileLock(self.host.scratch / f"publish-{image.digest[:12]}.lock")
            try:
                with lock.acquire(timeout=deadline.seconds):
                    if not self._there(target, deadline):
                        self._bring(image, target, deadline)
            except Timeout as error:
                raise LabError(
                    f"another process of this controller was still publishing {image.name}",
                    host=self.host.name,
                    operation="publish",
                ) from error
        return PublishedImage(image.digest, target)

    def _there(self, target: str, deadline: Deadline) -> bool:
        step = Step("Test-Path", {"LiteralPath": target, "PathType": "Leaf"}, get=(".",))
        return bool(self.host.agents.run("publish", [step], deadline, repeatable=True)[0][0]["."])

    def _bring(self, image: Image, target: str, deadline: Deadline) -> None:
        if Format.VHDX not in image.files:
            image = Store().convert(image, Format.VHDX, deadline)
        source = image.files[Format.VHDX]
        folder = str(self.host.settings.path("images"))
        partial = marks.name(f"{image.digest[:16]}-{secrets.token_hex(3)}", self.host.owner)
        path = str(self.host.settings.path("images", partial))
        make = Step("New-Item", {"Path": folder, "ItemType": "Directory", "Force": True})
        self.host.agents.run("publish", [make], deadline, repeatable=True)
        with self.host.ledger.creating(ResourceKind.IMAGE, partial) as creation:
            creation.made(partial)
            try:
                self._fetch(source, path, deadline)
                self._settle(source, path, target, deadline)
            except InteropError:
                with contextlib.suppress(InteropError):
                    self.discard(partial, Deadline.after(30))
                raise
        self.host.ledger.gone(ResourceKind.IMAGE, partial)

    def _fetch(self, source: Path, path: str, deadline: Deadline) -> None:
        if self.host.settings.pull is None:
            upload.send(self.host, source, path, deadline)
            return
        with offered(source, self.host.settings.pull, self.host.name) as offer:
            args: dict[str, Value] = {
                "Uri": Masked(offer.url),
                "Token": Masked(offer.token),
                "Path": path,
                "Seconds": int(deadline.seconds),
            }
            self.host.agents.run("publish", [Step("Receive-InteropFile", args, get=("Length",))], deadline)

    def _settle(self, source: Path, path: str, target: str, deadline: Deadline) -> None:
        """Hash it where it lies, then give it its name and make it read-only: a changed parent spoils its children."""
        wanted = _sha256(source)
        check = Step("Get-FileHash", {"LiteralPath": path, "Algorithm": "SHA256"}, get=("Hash",))
        seen = str(self.host.agents.run("publish", [check], deadline, repeatable=True)[0][0]["Hash"]).lower()
        if seen != wanted:
            raise LabError(
                f"the image arrived damaged: its SHA-256 is {seen}, not {wanted}",
                host=self.host.name,
                operation="publish",
                hint="is something between us that changes files: a proxy, a virus scanner?",
            )
        steps = [
            Step("Set-ItemProperty", {"LiteralPath": path, "Name": "IsReadOnly", "Value": True}),
            Step("Move-Item", {"LiteralPath": path, "Destination": target}),
        ]
        try:
            self.host.agents.run("publish", steps, deadline)
        except InteropError:
            if not self._there(target, deadline):
                raise
            self.discard(Path(path.replace("\\", "/")).name, deadline)  # somebody else came first

    def discard(self, name: str, deadline: Deadline) -> None:
        """Remove a half upload; no-op when it is gone."""
        path = str(self.host.settings.path("images", name))
        steps = [
            Step("Get-Item", {"LiteralPath": path}, name="file", allow=NO_FILE),
            Step("Remove-Item", {"LiteralPath": path, "Force": True}, when="file", allow=NO_FILE),
        ]
        self.host.agents.run("remove", steps, deadline, repeatable=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
