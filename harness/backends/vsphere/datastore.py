"""Files on the datastore: written and read by HTTPS, made room for and deleted by the API.

Source: vSphere Web Services SDK Programming Guide, "Datastore file access" (``/folder/PATH?dcPath=..&dsName=..``).
"""

from __future__ import annotations

import contextlib
import http
from pathlib import Path
from urllib.parse import quote, urlencode

from pyVmomi import vim

from harness.backends.vsphere import collector, tasks
from harness.backends.vsphere.access import Place
from harness.backends.vsphere.errors import LoggedOut, NameTaken, NotThere
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.backends.vsphere.transfer import Answer, Request, Transfer, refused, streamed
from harness.core import Deadline

_DENIED = (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN)


class Files:
    """As :class:`~harness.backends.vsphere.access.Store`.

    Args:
        session: the login.
        place: which datastore, of which datacenter.
        name: the datastore's name.
    """

    def __init__(self, session: Session, place: Place, name: str) -> None:
        self._session = session
        self._place = place
        self._name = name
        settings = session.settings
        self._transfer = Transfer(session.host, settings.address, session.context, settings.connect_seconds)
        self._browser: Ref | None = None

    @property
    def name(self) -> str:
        """The datastore's name."""
        return self._name

    def path(self, path: str) -> str:
        """As the API writes it: ``[datastore] path``."""
        return f"[{self._name}] {path}"

    def read(self, path: str, offset: int, limit: int, deadline: Deadline) -> bytes:
        """At most ``limit`` bytes from ``offset``; empty beyond the end, and where there is no such file."""
        if limit <= 0:
            return b""
        header = {"Range": f"bytes={offset}-{offset + limit - 1}"}

        def ask() -> bytes:
            request = Request("GET", self._target(path), self._with(header))
            # A server without ranges sends everything: what stands before is read and dropped.
            answer = self._transfer.ask(request, offset + limit, deadline)
            if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
                return answer.body[:limit]
            if answer.status == http.HTTPStatus.OK:
                return answer.body[offset : offset + limit]
            if answer.status in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
                return b""
            raise self._fault(answer, "read file")

        return self._session.renewing(ask, deadline)

    def put(self, source: Path, path: str, deadline: Deadline) -> None:
        """Upload a file; missing folders are made."""
        above = path.rpartition("/")[0]
        if above:
            with contextlib.suppress(NameTaken):
                arguments = (self.path(above), self._place.datacenter, True)
                self._files("make folder", "MakeDirectory", deadline, *arguments)

        def send() -> None:
            with streamed(source, deadline, self._session.host) as stream:
                headers = self._with({"Content-Type": "application/octet-stream"})
                answer = self._transfer.send(Request("PUT", self._target(path), headers), stream, deadline)
            if answer.status not in (http.HTTPStatus.OK, http.HTTPStatus.CREATED, http.HTTPStatus.NO_CONTENT):
                raise self._fault(answer, "upload")

        self._session.renewing(send, deadline)

    def delete(self, path: str, deadline: Deadline) -> None:
        """Delete a file or a folder with all that is in it; no-op when it is not there."""
        manager = self._session.manager("fileManager")
        arguments = (self.path(path), self._place.datacenter)
        with contextlib.suppress(NotThere):
            tasks.run(
                self._session, "delete file", manager, "DeleteDatastoreFile_Task", deadline, *arguments, patient=True
            )

    def delete_empty(self, path: str, deadline: Deadline) -> None:
        """Delete a folder if nothing is in it."""
        with contextlib.suppress(NotThere):
            if not self.listed(path, deadline):
                self.delete(path, deadline)

    def listed(self, path: str, deadline: Deadline) -> tuple[str, ...]:
        """The names in a folder.

        Raises:
            NotThere: there is no such folder.
        """
        if self._browser is None:
            found = collector.read_one(self._session, self._place.datastore, "browser", deadline=deadline)
            self._browser = found["browser"]
        result = tasks.run(
            self._session,
            "list files",
            self._browser,
            "SearchDatastore_Task",
            deadline,
            self.path(path),
            vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*"]),
        )
        return tuple(str(one.path).rstrip("/") for one in result.file or ())

    def close(self) -> None:
        """Hang up."""
        self._transfer.close()

    def _files(self, operation: str, method: str, deadline: Deadline, *arguments: object) -> None:
        self._session.call(operation, self._session.manager("fileManager"), method, deadline, *arguments)

    def _target(self, path: str) -> str:
        query = urlencode({"dcPath": self._place.datacenter_path, "dsName": self._name}, quote_via=quote)
        return f"/folder/{quote(path)}?{query}"

    def _with(self, headers: dict[str, str]) -> dict[str, str]:
        return headers | {"Cookie": self._session.cookie}

    def _fault(self, answer: Answer, operation: str) -> Exception:
        if answer.status in _DENIED:
            return LoggedOut(
                f"the host answered {answer.status} {answer.reason}",
                host=self._session.host,
                operation=operation,
                hint="files want the privileges Datastore.Browse and Datastore.FileManagement on the datastore",
            )
        return refused(answer, self._session.host, operation)
