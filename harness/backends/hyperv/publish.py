"""Images as read-only base disks, named by content: fetched by the host or sent to it, then hashed there.

Each publisher brings the file under a name of its own, which says whose it is; only what has the right hash gets the
final name, and the first to come so far serves all.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.backends.hyperv import marks, upload
from harness.backends.hyperv.access import NO_FILE, HostAccess
from harness.backends.hyperv.errors import Full, NoRight, failed_step
from harness.backends.hyperv.offer import offered
from harness.backends.hyperv.steps import Masked, Ref, Row, Step, Value, exactly
from harness.backends.model import PublishedImage
from harness.backends.views import ResourceKind
from harness.core import Deadline, InteropError, LabError
from harness.image.model import Format, Image
from harness.image.store import Store

_log = logging.getLogger(__name__)


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
        wanted = _sha256(source)
        with self.host.ledger.creating(ResourceKind.IMAGE, partial) as creation:
            try:
                seen = self._fetch(source, path, deadline, [make], [*settled(path, target, wanted)])
                if seen != wanted:
                    raise LabError(
                        f"the image arrived damaged: its SHA-256 is {seen}, not {wanted}",
                        host=self.host.name,
                        operation="publish",
                        hint="is something between us that changes files: a proxy, a virus scanner?",
                    )
            except InteropError:
                there = False
                with contextlib.suppress(InteropError):
                    self.discard(partial, Deadline.after(30))
                    there = self._there(target, deadline)  # somebody else came first
                if not there:
                    raise
            creation.made(partial)
        self.host.ledger.gone(ResourceKind.IMAGE, partial)

    def _fetch(self, source: Path, path: str, deadline: Deadline, first: list[Step], after: list[Step]) -> str:
        """Have the host fetch it, in one request; where it cannot, send it. The SHA-256 that it has there."""
        pull = self.host.settings.pull
        if pull is None:
            return self._send(source, path, deadline, first, after)
        with offered(source, pull, self.host.name) as offer:
            args: dict[str, Value] = {
                "Uri": Masked(offer.url),
                "Token": Masked(offer.token),
                "Path": path,
                "Seconds": int(deadline.seconds),
            }
            fetch = Step("Receive-InteropFile", args, get=("Length",))
            try:
                return _told(self.host.agents.run("publish", [*first, fetch, *after], deadline))
            except LabError as error:
                if deadline.expired or not _not_fetched(error, len(first)):
                    raise
                _log.warning(
                    "%s: cannot fetch an image by `pull: %s`, so it is sent, some ten times slower: %s",
                    self.host.name,
                    pull,
                    error.message,
                )
        return self._send(source, path, deadline, first, after)

    def _send(self, source: Path, path: str, deadline: Deadline, first: list[Step], after: list[Step]) -> str:
        """Send it, a request a piece."""
        for piece in upload.pieces(self.host, source, path):
            self.host.agents.run("publish", [*first, piece], deadline, repeatable=True)
            first = []
        return _told(self.host.agents.run("publish", after, deadline))

    def discard(self, name: str, deadline: Deadline) -> None:
        """Remove a half upload; no-op when it is gone."""
        path = str(self.host.settings.path("images", name))
        steps = [
            Step("Get-Item", {"LiteralPath": path}, name="file", allow=NO_FILE),
            Step("Remove-Item", {"LiteralPath": path, "Force": True}, when="file", allow=NO_FILE),
        ]
        self.host.agents.run("remove", steps, deadline, repeatable=True)


def settled(path: str, target: str, wanted: str) -> Iterator[Step]:
    """Hash it where it lies, then give it its name and make it read-only: a changed parent spoils its children."""
    yield Step("Get-FileHash", {"LiteralPath": path, "Algorithm": "SHA256"}, name="hash", get=("Hash",))
    yield Step("Write-Output", {"InputObject": Ref("hash")}, name="right", where=(("Hash", exactly(wanted)),))
    yield Step("Set-ItemProperty", {"LiteralPath": path, "Name": "IsReadOnly", "Value": True}, when="right")
    yield Step("Move-Item", {"LiteralPath": path, "Destination": target}, when="right")


def _not_fetched(error: LabError, step: int) -> bool:
    """Whether the host could not reach us, and could take the file all the same.

    Args:
        error: of the whole request.
        step: which of its steps fetches.
    """
    return failed_step(error) == step and not isinstance(error, Full | NoRight)


def _told(answer: list[list[Row]]) -> str:
    return next(str(row["Hash"]).lower() for rows in answer for row in rows if "Hash" in row)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
