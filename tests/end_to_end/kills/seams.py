"""Where a driver talks to its host, counted from outside: each creating or deleting call is an instant to die at.

Nothing of the product knows of this. The driver's libraries are wrapped in the process that is to be killed: libvirt's
classes, Python's calls that change files, HTTP below pyVmomi, and pywinrm's protocol. Calls that only read are let
through uncounted, by their names in each library's own API.
"""

from __future__ import annotations

import builtins
import functools
import http.client
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BEFORE, SENT, AFTER = "before", "sent", "after"
"""Before the call; after it went out, while the host works for nobody (on a wire alone); after its answer."""

LIBVIRT = {
    "virConnect": ("defineXML", "createXML", "restoreFlags"),
    "virDomain": (
        *("create", "destroy", "undefineFlags", "managedSave", "managedSaveRemove", "saveFlags", "snapshotCreateXML"),
        *("attachDeviceFlags", "detachDeviceFlags", "updateDeviceFlags", "revertToSnapshot", "setMetadata"),
    ),
    "virDomainSnapshot": ("delete",),
    "virStoragePool": ("createXML",),
    "virStorageVol": ("delete", "upload"),
}
_SOAP = re.compile(rb"<soapenv:Body>\s*<(?:\w+:)?(\w+)")
SOAP_READS = re.compile(
    r"Retrieve\w+|Wait\w+|Create(Filter|PropertyCollector|ImportSpec|ContainerView)|Destroy(PropertyFilter|View"
    r"|PropertyCollector)|Query\w+|CurrentTime|Log(in|out)|Find\w+|SearchDatastore_Task|HttpNfcLease(GetManifest|Progress)"
    r"|Cancel\w+"
)
CMDLET_READS = re.compile(r"(Get|Test|Write|Wait|Measure|Select|Where|Read)-\w+")
_TOOLS = {"qemu-img": ("create", "snapshot", "convert", "rebase", "resize")}


@dataclass
class Call:
    """One creating or deleting call.

    Args:
        number: counts from 1.
        name: what it is called in its library's API.
        words: what it was told, as far as names of things can be in it.
        wire: whether the host works on when we die with the call in the middle.
        entries: what stood in the journal then: pairs of name and handle of each entry not known to be gone.
    """

    number: int
    name: str
    words: str
    wire: bool
    entries: list[tuple[str, str | None]] = field(default_factory=list)


class Seams:
    """Counts, and kills its own process where it was told to.

    Args:
        at: the call to die at, and when; None: none.
        trace: the calls are written there, a JSON line each, as they are made; None: nowhere.
        journal: the harness's journal, to be read at each call for the trace.
        places: folders of this controller: calls that change files count where they change something below.
    """

    def __init__(self, at: tuple[int, str] | None, trace: Path | None, journal: Path, places: tuple[Path, ...]) -> None:
        self._at = at
        self._trace = trace
        self._journal = journal
        self._places = tuple(f"{place}{os.sep}" for place in places)
        self._count = 0
        self._lock = threading.Lock()
        self._inside = threading.local()

    def begin(self, name: str, words: str, *, wire: bool = False) -> int:
        """A call is about to be made; its number."""
        with self._lock:
            self._count += 1
            number = self._count
        if self._trace is not None:
            call = Call(number, name, words[:4000], wire, self._open_entries())
            with _open(self._trace, "a") as file:
                file.write(json.dumps(asdict(call)) + "\n")
        self.reach(number, BEFORE)
        return number

    def reach(self, number: int, when: str) -> None:
        """Die here, if it was asked for."""
        if self._at == (number, when):
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def counted(self, name: str, words: str) -> Iterator[None]:
        """Around one call; those that it makes itself do not count."""
        if getattr(self._inside, "call", False):
            yield
            return
        self._inside.call = True
        try:
            number = self.begin(name, words)
            try:
                yield
            finally:
                self.reach(number, AFTER)  # one that is refused is over as well
        finally:
            self._inside.call = False

    def _open_entries(self) -> list[tuple[str, str | None]]:
        try:
            with sqlite3.connect(f"file:{self._journal}?mode=ro", uri=True) as opened:
                return opened.execute("SELECT name, handle FROM journal WHERE gone IS NULL").fetchall()
        except sqlite3.OperationalError:  # there is none yet
            return []

    # Files and tools of this controller.

    def watch_files(self) -> None:
        """Every call of Python that makes, changes or deletes a file below the places."""
        for name in ("mkdir", "unlink", "remove", "rmdir", "rename", "replace", "link", "symlink"):
            setattr(os, name, self._wrapped(getattr(os, name), self._of_paths(name)))
        for module, name in ((shutil, "copyfile"),):
            setattr(module, name, self._wrapped(getattr(module, name), self._of_paths(name)))
        opened = self._wrapped(_open, self._of_open)
        builtins.open = opened
        io.open = opened
        os.open = self._wrapped(os.open, self._of_os_open)
        subprocess.run = self._wrapped(subprocess.run, self._of_tool)  # type: ignore[assignment]

    def _wrapped(self, call: Callable[..., Any], telling: Callable[..., tuple[str, str] | None]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            told = telling(*arguments, **named)
            if told is None:
                return call(*arguments, **named)
            with self.counted(*told):
                return call(*arguments, **named)

        return wrapper

    def _of_paths(self, name: str) -> Callable[..., tuple[str, str] | None]:
        def telling(*arguments: Any, dir_fd: int | None = None, **_: Any) -> tuple[str, str] | None:
            paths = [os.fspath(one) for one in arguments if isinstance(one, str | os.PathLike)]
            if dir_fd is not None:  # shutil.rmtree works so
                paths = [f"{Path(f'/proc/self/fd/{dir_fd}').readlink()}/{path}" for path in paths]
            return (name, " ".join(paths)) if any(self._ours(path) for path in paths) else None

        return telling

    def _of_open(self, file: Any, mode: str = "r", *_: Any, **__: Any) -> tuple[str, str] | None:
        writes = isinstance(file, str | os.PathLike) and set(mode) & set("wax+")
        return ("open", os.fspath(file)) if writes and self._ours(os.fspath(file)) else None

    def _of_os_open(self, path: Any, flags: int, *_: Any, **__: Any) -> tuple[str, str] | None:
        writes = isinstance(path, str | os.PathLike) and flags & os.O_CREAT
        return ("open", os.fspath(path)) if writes and self._ours(os.fspath(path)) else None

    def _of_tool(self, *arguments: Any, **named: Any) -> tuple[str, str] | None:
        words = [str(word) for word in (arguments[0] if arguments else named["args"])]
        verbs = _TOOLS.get(Path(words[0]).name, ())
        return (f"{Path(words[0]).name} {words[1]}", " ".join(words)) if words[1:2] and words[1] in verbs else None

    def _ours(self, path: str) -> bool:
        """Locks are no things: they stay, empty, and are taken again."""
        return path.startswith(self._places) and not path.endswith((".lock", ".pyc"))

    # Hosts.

    def watch_libvirt(self) -> None:
        """The methods of libvirt's classes that make, change or delete something."""
        import libvirt

        for kind, names in LIBVIRT.items():
            for name in names:
                method = getattr(getattr(libvirt, kind), name)
                setattr(getattr(libvirt, kind), name, self._wrapped(method, functools.partial(_of_libvirt, name)))

    def watch_soap(self) -> None:
        """Requests of pyVmomi, and transfers beside it: all that do not only read."""
        request, response = http.client.HTTPConnection.request, http.client.HTTPConnection.getresponse
        seams = self

        def send(connection: Any, method: str, url: str, body: Any = None, *rest: Any, **named: Any) -> None:
            told = _of_http(method, url, body)
            connection.counted = seams.begin(*told, wire=True) if told else None
            request(connection, method, url, body, *rest, **named)
            if told:
                seams.reach(connection.counted, SENT)

        def receive(connection: Any) -> Any:
            answer = response(connection)
            if getattr(connection, "counted", None):
                seams.reach(connection.counted, AFTER)
            return answer

        http.client.HTTPConnection.request = send  # type: ignore[method-assign,assignment]
        http.client.HTTPConnection.getresponse = receive  # type: ignore[method-assign,assignment]

    def watch_winrm(self) -> None:
        """Requests to the agents that hold a cmdlet which changes something; shells and agents themselves besides."""
        from winrm.protocol import Protocol

        for name in ("open_shell", "run_command", "close_shell"):
            setattr(Protocol, name, self._wrapped(getattr(Protocol, name), lambda *_, name=name, **__: (name, "")))
        send, receive = Protocol.send_command_input, Protocol.get_command_output_raw
        pending: dict[tuple[str, str], int] = {}

        def sending(protocol: Any, shell: str, command: str, data: bytes, *rest: Any, **named: Any) -> None:
            told = _of_agent(data)
            number = self.begin(*told, wire=True) if told else None
            send(protocol, shell, command, data, *rest, **named)
            if number is not None:
                pending[shell, command] = number
                self.reach(number, SENT)

        def receiving(protocol: Any, shell: str, command: str, *rest: Any, **named: Any) -> Any:
            answer = receive(protocol, shell, command, *rest, **named)
            number = pending.pop((shell, command), None) if b"\n" in answer[0] else None
            if number is not None:
                self.reach(number, AFTER)
            return answer

        Protocol.send_command_input = sending  # type: ignore[method-assign]
        Protocol.get_command_output_raw = receiving  # type: ignore[method-assign]


_open = open


def _of_libvirt(name: str, subject: Any, *arguments: Any, **_: Any) -> tuple[str, str]:
    """What it is called on, and the descriptions it is given."""
    words = [str(argument) for argument in arguments if isinstance(argument, str)]
    domain = subject.getDomain() if hasattr(subject, "getDomain") else subject
    if hasattr(domain, "UUIDString"):
        words.insert(0, domain.UUIDString())
    if hasattr(subject, "getName"):
        words.append(subject.getName())
    return f"libvirt {name}", " ".join(words)


def _of_http(method: str, url: str, body: Any) -> tuple[str, str] | None:
    if method == "POST" and isinstance(body, bytes | str):
        data = body.encode() if isinstance(body, str) else body
        found = _SOAP.search(data)
        name = found[1].decode() if found else "POST"
        return None if SOAP_READS.fullmatch(name) else (name, data.decode("utf-8", "replace"))
    return (f"{method} {url.split('/')[1]}", url) if method in ("PUT", "POST", "DELETE") else None


def _of_agent(data: bytes) -> tuple[str, str] | None:
    """The cmdlets of a request that change something; a piece of a long one that does not begin it counts as such."""
    text = data.decode("utf-8", "replace").strip()
    try:
        calls = [str(step["call"]) for step in json.loads(text)["steps"]]
    except (ValueError, KeyError, TypeError):
        calls = sorted(set(re.findall(r'"call": ?"([\w-]+)"', text)))
    changing = [call for call in calls if not CMDLET_READS.fullmatch(call)]
    return (" ".join(dict.fromkeys(changing)), text) if changing else None
