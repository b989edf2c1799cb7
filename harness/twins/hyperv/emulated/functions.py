"""What is no cmdlet of Hyper-V's but is called nevertheless: the agent's own functions, and those of files.

With a PowerShell engine these are real; here they do the same on the same files.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import hashlib
import os
import shutil
import socket
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from harness.core.waiting import pause
from harness.twins.hyperv.emulated.objects import Thing
from harness.twins.hyperv.emulated.refusals import FORMAT, GENERAL, SYSTEM, Refusal
from harness.twins.hyperv.emulated.signatures import Parameter, ParameterSet, Signature
from harness.twins.hyperv.emulated.values import Named
from harness.twins.hyperv.emulated.world import World

Function = Callable[[World, "Consoles", Mapping[str, Any]], list[Any]]

_PIECE: Final = 1 << 20
_MOST: Final = 256 << 20
"""Of a console, unless another size is given: the default that the agent's script declares."""
_SOCKET: Final = 0x80004005 - (1 << 32)  # E_FAIL, of a SocketException


class Consoles:
    """The pumps of one agent."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._pumped: dict[Path, threading.Thread] = {}

    def start(self, pipe: Path, log: Path, *, fresh: bool, most: int) -> None:
        """Pump a pipe into a file, unless somebody does; of what comes beyond ``most`` bytes nothing is kept."""
        with self._lock:
            if fresh:
                self._stop(log)
                log.write_bytes(b"")
            if log in self._pumped and self._pumped[log].is_alive():
                return
            log.touch()
            _beside(log, "in").touch()
            thread = threading.Thread(target=self._pump, args=(pipe, log, most), name="console", daemon=True)
            self._pumped[log] = thread
            thread.start()

    def stop(self, log: Path) -> None:
        """End a pump."""
        with self._lock:
            self._stop(log)

    def close(self) -> None:
        """End all; what is to be pumped stays so, for another agent."""
        self._over.set()

    def _stop(self, log: Path) -> None:
        _beside(log, "in").unlink(missing_ok=True)
        thread = self._pumped.pop(log, None)
        if thread is not None:
            thread.join(5)

    def _pump(self, pipe: Path, log: Path, most: int) -> None:
        typed = 0
        while _beside(log, "in").exists() and not self._over.is_set():
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
                line.settimeout(0.05)
                line.connect(str(pipe))
                typed = self._talk(line, log, most, typed)
            pause(0.1)

    def _talk(self, line: socket.socket, log: Path, most: int, typed: int) -> int:
        keys = _beside(log, "in")
        while keys.exists() and not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                data = line.recv(65536)
                if not data:
                    return typed
                with log.open("ab") as file:
                    file.write(data[: max(0, most - file.tell())])
            more = keys.read_bytes()[typed:] if keys.exists() else b""
            if more:
                line.sendall(more)
                typed += len(more)
        return typed


def _beside(log: Path, what: str) -> Path:
    return log.with_name(f"{log.name}.{what}")


def _receive(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    try:
        request = urllib.request.Request(given["Uri"], headers={"Authorization": f"Bearer {given['Token']}"})  # noqa: S310
    except ValueError as error:
        raise Refusal("UriFormatException", str(error), "NotSpecified", FORMAT) from error
    digest, length = hashlib.sha256(), 0
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with (
            opener.open(request, timeout=float(given["Seconds"] or 60)) as answer,
            world.file(given["Path"]).open("wb") as file,
        ):
            while piece := answer.read(_PIECE):
                file.write(piece)
                digest.update(piece)
                length += len(piece)
    except urllib.error.URLError as error:
        answered = isinstance(error, urllib.error.HTTPError)
        why = GENERAL if answered else _SOCKET
        raise Refusal("WebException", f"{given['Uri']}: {error}", "NotSpecified", why) from error
    return [Thing("Object", "", {"Length": length, "Sha256": digest.hexdigest()})]


def _chunk(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    data, offset = _bytes(given["Data"]), given["Offset"]
    handle = os.open(world.file(given["Path"]), os.O_WRONLY | os.O_CREAT, 0o644)
    with os.fdopen(handle, "wb") as file:
        length = file.seek(0, os.SEEK_END)
        if offset > length:
            gap = Refusal("Gap", f"byte {offset} came before byte {length}", "InvalidArgument")
            raise Named(gap, gap.identifier)  # thrown as it is: nothing is put after it
        if offset == 0 and length:
            length = file.truncate(0)
        file.seek(offset)
        file.write(data)
    return [Thing("Object", "", {"Length": max(length, offset + len(data))})]


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refusal("FormatException", str(error), "NotSpecified", FORMAT) from error


def _compress(_world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    deflate = zlib.compressobj(wbits=-15)
    return [base64.b64encode(deflate.compress(bytes(given["Data"])) + deflate.flush()).decode("ascii")]


def _start_console(world: World, consoles: Consoles, given: Mapping[str, Any]) -> list[Any]:
    pipe = Path(world.settings.pipes + given["Pipe"])
    consoles.start(pipe, world.file(given["Path"]), fresh=given["Fresh"], most=given["Most"] or _MOST)
    return []


def _stop_console(world: World, consoles: Consoles, given: Mapping[str, Any]) -> list[Any]:
    consoles.stop(world.file(str(given["Path"])))
    return []


def _read_console(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = world.file(str(given["Path"]))
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(int(given["Offset"]))
        data = file.read(int(given["Limit"]))
    return [base64.b64encode(data).decode("ascii")] if data else []


def _write_console(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = world.file(str(given["Path"]))
    with _beside(path, "in").open("ab") as file:
        file.write(_bytes(given["Data"]))
    return []


def _write_output(_world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    value = given.get("InputObject")
    return list(value) if isinstance(value, list) else [value]


def _path(world: World, given: Mapping[str, Any]) -> Path:
    value = given.get("LiteralPath", given.get("Path", "."))
    return world.file(str(value[0] if isinstance(value, list) else value))


def _missing(path: Path) -> Refusal:
    return Refusal("PathNotFound", f"Cannot find path '{path}' because it does not exist.", "ObjectNotFound", SYSTEM)


def _test_path(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    kind = str(given.get("PathType", "Any")).lower()
    return [path.is_file() if kind == "leaf" else path.is_dir() if kind == "container" else path.exists()]


def _new_item(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    if given.get("Name"):
        path /= str(given["Name"])
    folder = str(given.get("ItemType", given.get("Type", "File"))).lower() == "directory"
    what = "CreateDirectory" if folder else "NewItem"
    try:
        if folder:
            path.mkdir(parents=True, exist_ok=bool(given.get("Force")))
        else:
            if path.exists() and not given.get("Force"):
                raise Refusal("NewItemIOError", f"The file '{path}' already exists.", "WriteError")
            path.write_text(str(given.get("Value", "")), encoding="utf-8")
    except FileExistsError as error:
        message = f"An item with the name {path} already exists."
        raise Refusal("DirectoryExist", message, "ResourceExists") from error
    except PermissionError as error:
        message = f"Access to the path '{path}' is denied."
        raise Refusal(f"{what}UnauthorizedAccessError", message, "PermissionDenied") from error
    return [_item(path)]


def _get_item(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    if not path.exists():
        raise _missing(path)
    return [_item(path)]


def _children(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    if not path.exists():
        raise _missing(path)
    pattern = str(given.get("Filter", "*"))
    found = path.rglob(pattern) if given.get("Recurse") else path.glob(pattern)
    return [
        _item(each)
        for each in sorted(found)
        if not (given.get("File") and each.is_dir()) and not (given.get("Directory") and not each.is_dir())
    ]


def _remove_item(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    if not path.exists():
        raise _missing(path)
    if path.is_dir():
        shutil.rmtree(path) if given.get("Recurse") else path.rmdir()
    else:
        path.unlink()
    return []


def _move_item(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path, target = _path(world, given), world.file(str(given["Destination"]))
    if not path.exists():
        raise _missing(path)
    if target.exists() and target.is_file() and not given.get("Force"):
        raise Refusal("MoveFileInfoItemIOError", f"The file '{target}' already exists.", "WriteError")
    path.replace(target)
    return []


def _rename_item(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    target = path.with_name(str(given["NewName"]))
    if not path.exists():
        raise _missing(path)
    if target.exists():
        raise Refusal("RenameItemIOError", f"The file '{target}' already exists.", "WriteError")
    path.rename(target)
    return []


def _hash(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    if not path.is_file():
        raise Refusal("FileNotFound", f"Cannot find path '{path}' because it does not exist.", "ObjectNotFound")
    algorithm = str(given.get("Algorithm", "SHA256"))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm.lower()).hexdigest().upper()
    return [Thing("FileHashInfo", "", {"Algorithm": algorithm, "Hash": digest, "Path": str(path)})]


def _set_item_property(world: World, _: Consoles, given: Mapping[str, Any]) -> list[Any]:
    path = _path(world, given)
    if not path.exists():
        raise _missing(path)
    if str(given.get("Name", "")).lower() == "isreadonly":
        path.chmod(0o444 if given.get("Value") else 0o644)
    return []


def _item(path: Path) -> Thing:
    stat = path.stat()
    shown: dict[str, Any] = {
        "Name": path.name,
        "FullName": str(path),
        "Exists": True,
        "PSIsContainer": path.is_dir(),
        "IsReadOnly": not stat.st_mode & 0o200,
    }
    if path.is_file():
        shown["Length"] = stat.st_size
    return Thing("FileInfo" if path.is_file() else "DirectoryInfo", "", shown)


def _own(name: str, **parameters: str) -> tuple[str, Signature]:
    """One of the agent's own functions: all of its parameters may be left out."""
    known = {each: Parameter(each, kind) for each, kind in parameters.items()}
    return name.lower(), Signature(name, "", known, (ParameterSet("", frozenset(), frozenset(known)),), "")


OWN: Final = dict(
    _own(name, **dict(pair.split(":") for pair in declared.split()))
    for name, declared in {
        "Receive-InteropFile": "Uri:String Token:String Path:String Seconds:Int32",
        "Add-InteropChunk": "Path:String Offset:Int64 Data:String",
        "Compress-InteropData": "Data:Byte[]",
        "Start-InteropConsole": "Pipe:String Path:String Fresh:SwitchParameter Most:Int64",
        "Stop-InteropConsole": "Path:String",
        "Read-InteropConsole": "Path:String Offset:Int64 Limit:Int32",
        "Write-InteropConsole": "Path:String Data:String",
    }.items()
)
"""How the agent's script declares its functions, by name in lower case."""
_LEFT_OUT: Final = {"String": "", "Int32": 0, "Int64": 0, "SwitchParameter": False, "Byte[]": ()}


def complete(signature: Signature, bound: Mapping[str, Any]) -> dict[str, Any]:
    """What was bound to one of :data:`OWN`, with what PowerShell gives those that were left out."""
    return {name: bound.get(name, _LEFT_OUT[each.type]) for name, each in signature.parameters.items()}


FUNCTIONS: Final[dict[str, Function]] = {
    "write-output": _write_output,
    "get-date": lambda *_: [dt.datetime.now(dt.UTC)],
    "receive-interopfile": _receive,
    "add-interopchunk": _chunk,
    "compress-interopdata": _compress,
    "start-interopconsole": _start_console,
    "stop-interopconsole": _stop_console,
    "read-interopconsole": _read_console,
    "write-interopconsole": _write_console,
    "test-path": _test_path,
    "new-item": _new_item,
    "get-item": _get_item,
    "get-childitem": _children,
    "remove-item": _remove_item,
    "move-item": _move_item,
    "rename-item": _rename_item,
    "get-filehash": _hash,
    "set-itemproperty": _set_item_property,
}
