"""Importing a disk: an OVF of one machine, a lease, one stream of bytes, and no half-made machine when it fails.

Source: vSphere Web Services SDK, ``OvfManager`` and ``HttpNfcLease``. A disk that is put on a datastore and attached
would not do: what streams is not what ESXi runs, and powering on fails (pyvmomi issue 1064).
"""

from __future__ import annotations

import contextlib
import http
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyVmomi import vim

from harness.backends.vsphere import collector, ovf, tasks, tls
from harness.backends.vsphere.access import Place
from harness.backends.vsphere.errors import Cancelled, translated, words_of
from harness.backends.vsphere.refs import Ref, ref_of
from harness.backends.vsphere.session import Session
from harness.backends.vsphere.transfer import Request, Stream, Transfer, refused, streamed
from harness.core import Deadline, InteropError, LabError, Pending, Size

_PROGRESS_SECONDS = 2.0  # without news a lease ends after 300 s (reported), moving or not
_ABORT_SECONDS = 20.0
_HTTPS = 443
_TYPE = "application/x-vnd.vmware-streamVmdk"


@dataclass(frozen=True, slots=True)
class Import:
    """What is to be imported.

    Args:
        name: of the new machine.
        annotation: of it.
        vmdk: the streamOptimized disk.
        capacity: the size of the disk as a guest sees it.
        hardware: the virtual hardware version, as ``vmx-20``.
    """

    name: str
    annotation: str
    vmdk: Path
    capacity: Size
    hardware: str


def import_disk(session: Session, place: Place, wanted: Import, deadline: Deadline) -> Ref:
    """Make a machine whose only disk holds what the file holds.

    Raises:
        NameTaken: the folder has a machine of this name.
        LabError: the host refuses, the datastore is full, the upload broke, or time ran out. The lease was aborted
            then, and nothing is left.
    """
    spec = _spec(session, place, wanted, deadline)
    lease: Ref = session.call("import", place.pool, "ImportVApp", deadline, spec, place.folder, place.host)
    entity: Ref | None = None
    try:
        info = _ready(session, lease, deadline)
        entity = ref_of(info.entity)
        url = next((one for one in info.deviceUrl if one.disk or one.targetId or len(info.deviceUrl) == 1), None)
        if url is None:
            raise LabError("the lease has no place for the disk", host=session.host, operation="import")
        sha1 = _upload(session, lease, url, wanted.vmdk, deadline)
        _compare(session, lease, str(url.key), sha1, deadline)
        session.call("import", lease, "HttpNfcLeaseComplete", deadline)
    except BaseException as error:
        _abort(session, lease, entity, str(error))
        raise
    return entity


def _spec(session: Session, place: Place, wanted: Import, deadline: Deadline) -> Any:
    parameters = vim.OvfManager.CreateImportSpecParams(
        entityName=wanted.name,
        diskProvisioning="thin",
        hostSystem=place.host.managed,
        locale="",
        deploymentOption="",
    )
    size = wanted.vmdk.stat().st_size
    text = ovf.descriptor(wanted.name, wanted.hardware, (wanted.vmdk.name, size), wanted.capacity)
    arguments = (text, place.pool, place.datastore, parameters)
    made = session.call("import", session.manager("ovfManager"), "CreateImportSpec", deadline, *arguments)
    if made.error:
        raise translated(made.error[0], session.host, "import")
    made.importSpec.configSpec.annotation = wanted.annotation
    return made.importSpec


def _ready(session: Session, lease: Ref, deadline: Deadline) -> Any:
    def ready(values: collector.Values) -> Any:
        state = values.get("state")
        if state == "error":
            fault = values.get("error")
            if isinstance(fault, BaseException):
                raise translated(fault, session.host, "import")
            raise LabError("the lease failed and the host does not say why", host=session.host, operation="import")
        return values["info"] if state == "ready" else Pending(f"a lease that is {state}")

    paths = ("state", "error", "info")
    return collector.wait_one(session, "the lease", lease, paths, ready, deadline=deadline, operation="import")


def _upload(session: Session, lease: Ref, url: Any, vmdk: Path, deadline: Deadline) -> str:
    """Send the disk; the sha1 of what was sent."""
    target = urlsplit(str(url.url))
    if target.scheme != "https":
        raise LabError(f"the lease offers {target.scheme}, not https", host=session.host, operation="upload")
    own = session.settings.address
    here = target.hostname in (None, "*", own[0].lower())
    address = (own[0] if here else str(target.hostname), target.port or (own[1] if here else _HTTPS))
    headers = {"Content-Type": _TYPE, "Overwrite": "t"}
    if address == own:
        context = session.context
        headers["Cookie"] = session.cookie
    else:  # the path has a ticket of its own: the vCenter's session is nobody else's business
        context = _trusting(session, url)
    transfer = Transfer(session.host, address, context, session.settings.connect_seconds)
    query = f"?{target.query}" if target.query else ""
    request = Request("POST", target.path + query, headers)
    with streamed(vmdk, deadline, session.host) as stream, _kept(session, lease, stream) as keeper:
        try:
            answer = transfer.send(request, stream, deadline, keeper.watch)
        except InteropError as error:
            if keeper.fault:  # the connection broke because we broke it
                raise keeper.fault from None
            raise _why_ended(session, lease, stream) or error from error
        if answer.status not in (http.HTTPStatus.OK, http.HTTPStatus.CREATED, http.HTTPStatus.NO_CONTENT):
            raise refused(answer, session.host, "upload")
        return stream.sha1


def _trusting(session: Session, url: Any) -> ssl.SSLContext:
    """Whom to trust as the ESXi that a vCenter's lease names, which is not the vCenter whose pin the lab file may have.

    Its very certificate, where the vCenter tells its thumbprint; else one that CAs vouch for, by the name in the lease.
    """
    if url.sslThumbprint:
        return tls.told(str(url.sslThumbprint), session.host)
    return tls.context(session.settings.ca, None, session.host)


class _Keeper:
    """Tells the lease how far the upload is, and breaks the upload off when the lease is no more."""

    def __init__(self, session: Session, lease: Ref, stream: Stream) -> None:
        self.fault: LabError | None = None
        self._session = session
        self._lease = lease
        self._stream = stream
        self._done = threading.Event()
        self._connection: http.client.HTTPSConnection | None = None

    def watch(self, connection: http.client.HTTPSConnection) -> None:
        """This is the upload's connection."""
        self._connection = connection

    def run(self) -> None:
        """Until stopped."""
        while not self._done.wait(_PROGRESS_SECONDS):
            try:
                late = Deadline.after(_ABORT_SECONDS)
                percent = min(99, self._stream.percent)
                self._session.call("upload", self._lease, "HttpNfcLeaseProgress", late, percent)
            except InteropError as error:
                self.fault = _ended(self._session, self._stream, error.message)
                self._break()
                return

    def stop(self) -> None:
        """The upload is over."""
        self._done.set()

    def _break(self) -> None:
        sock = self._connection.sock if self._connection else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _why_ended(session: Session, lease: Ref, stream: Stream) -> LabError | None:
    """What the lease says of its end, if it has ended: of that a connection only says that it broke."""
    late = Deadline.after(_ABORT_SECONDS)
    with contextlib.suppress(InteropError):
        values = collector.read_one(session, lease, "state", "error", deadline=late, operation="upload")
        if values.get("state") == "error":
            fault = values.get("error")
            return _ended(session, stream, words_of(fault) if isinstance(fault, BaseException) else "no reason given")
    return None


def _ended(session: Session, stream: Stream, words: str) -> LabError:
    return Cancelled(
        f"the lease ended with {stream.percent} % sent: {words}",
        host=session.host,
        operation="upload",
        hint="somebody cancelled the import, or the host heard nothing of the upload for too long",
    )


@contextlib.contextmanager
def _kept(session: Session, lease: Ref, stream: Stream) -> Iterator[_Keeper]:
    keeper = _Keeper(session, lease, stream)
    thread = threading.Thread(target=keeper.run, name="lease", daemon=True)
    thread.start()
    try:
        yield keeper
    finally:
        keeper.stop()
        thread.join()


def _compare(session: Session, lease: Ref, key: str, sha1: str, deadline: Deadline) -> None:
    """What the host says it got must be what was sent."""
    entries = session.call("import", lease, "HttpNfcLeaseGetManifest", deadline) or ()
    for entry in entries:
        got = str(entry.sha1 or "").lower()
        if entry.key == key and got and got != sha1:
            raise LabError(
                f"the host received another disk than was sent: sha1 {got}, not {sha1}",
                host=session.host,
                operation="import",
                hint="something between here and the host changes what passes; try again",
            )


def _abort(session: Session, lease: Ref, entity: Ref | None, why: str) -> None:
    """The lease and what it made must not stay; a host that is out of reach ends it by itself after minutes."""
    late = Deadline.after(_ABORT_SECONDS)
    fault = vim.fault.Timedout(msg=why[:500])
    with contextlib.suppress(InteropError):
        session.call("abort import", lease, "HttpNfcLeaseAbort", late, fault)
    if entity is not None:
        with contextlib.suppress(InteropError):
            tasks.run(session, "abort import", entity, "Destroy_Task", late, patient=True)
