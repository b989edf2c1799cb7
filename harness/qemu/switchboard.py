"""One switch for all processes of a user: a small server that the first client starts and that ends after the last.

Clients speak JSON, one object a line, over a Unix socket in a folder only the user can enter. As long as a client is
connected the switch runs; a client that is killed is disconnected by the kernel, so no switch outlives its users.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.qemu import addresses
from harness.qemu.errors import QemuError
from harness.qemu.switch import Address, Counters, Plug, Switch

LINGER = 20.0
"""Seconds a switch without clients stays: the next test process usually follows at once."""

_HANDOVER = 5.0
"""Seconds that the address of a switch that was killed may be taken: the kernel may close its control socket before."""


class SwitchClient:
    """A connection to the switch of ``folder``, which is started if need be.

    Args:
        folder: where control socket, lock and log live; all who give the same folder share one switch.
        seconds: how long starting it or one answer may take.

    Raises:
        QemuError: it cannot be started or does not answer.
    """

    def __init__(self, folder: Path, *, seconds: float = 15.0) -> None:
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._seconds = seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        try:
            self._connect()
        except OSError as error:
            raise QemuError(f"the switch in {folder} takes no connection: {error}") from error

    @property
    def address(self) -> Address:
        """Where ports of this folder's switch send their frames: always the same."""
        return address_of(self._folder)

    def plug(self, port: Address, plug: Plug) -> None:
        """As :meth:`Switch.plug`."""
        trunk = None if plug.trunk is None else sorted(plug.trunk)
        self._ask("plug", port, network=plug.network, vlan=plug.vlan, mtu=plug.mtu, trunk=trunk, native=plug.native)

    def unplug(self, port: Address) -> None:
        """As :meth:`Switch.unplug`."""
        self._ask("unplug", port)

    def cut(self, port: Address, cut: bool) -> None:
        """As :meth:`Switch.cut`."""
        self._ask("cut", port, cut=cut)

    def lose(self, port: Address, fraction: float) -> None:
        """As :meth:`Switch.lose`."""
        self._ask("lose", port, fraction=fraction)

    def counters(self, port: Address) -> Counters:
        """As :meth:`Switch.counters`."""
        return Counters(**self._ask("counters", port))

    def heard(self, port: Address) -> list[tuple[str, str]]:
        """As :meth:`Switch.heard`."""
        return [(mac, address) for mac, address in self._ask("heard", port)]

    def close(self) -> None:
        """Hang up; ports stay plugged for as long as the switch has other clients."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        with _starting(self._folder):
            try:
                self._socket = _connected(self._folder, self._seconds)
            except OSError:
                _start(self._folder, self._seconds)
                self._socket = _connected(self._folder, self._seconds)
        return self._socket

    def _ask(self, verb: str, port: Address, **arguments: Any) -> Any:
        request = json.dumps({"verb": verb, "port": port, **arguments}).encode() + b"\n"
        with self._lock:
            answer = self._answered(request)
        if "error" in answer:
            raise QemuError(answer["error"])
        return answer["result"]

    def _answered(self, request: bytes) -> dict[str, Any]:
        """By this switch, or by the one after it: a new one knows no ports until they are plugged again."""
        until = time.monotonic() + self._seconds
        while True:
            try:
                return self._answer(self._socket or self._connect(), request)
            except TimeoutError as error:
                self.close()  # its answer may still come, and would be taken for the next one's
                raise QemuError(f"the switch in {self._folder} does not answer: {error}") from error
            except OSError as error:
                # It was killed. While it dies it may still take a connection, so once may not be enough.
                self.close()
                if time.monotonic() > until:
                    raise QemuError(f"the switch in {self._folder} ends again and again: {error}") from error

    def _answer(self, connection: socket.socket, request: bytes) -> dict[str, Any]:
        connection.sendall(request)
        line = b""
        while not line.endswith(b"\n"):
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError(f"it ended; its log is {self._folder / 'log'}")
            line += data
        answer: dict[str, Any] = json.loads(line)
        return answer


def address_of(folder: Path) -> Address:
    """The UDP address of the switch of ``folder``, whether it runs or not: the same for as long as the folder lives.

    A path alone would not tell: containers may have the same path and share one loopback.
    """
    status = folder.stat()
    return addresses.udp("switch", str(folder.resolve()), str(status.st_dev), str(status.st_ino))


class _Server:
    """The switch and its control socket in one loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._switch = _inherited(address_of(folder))
        self._selector = selectors.DefaultSelector()
        self._partial: dict[socket.socket, bytes] = {}
        path = _control(folder)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        with _near(folder) as near:
            self._listener.bind(f"{near}/{path.name}")
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._control = path.stat().st_ino
        self._selector.register(self._switch.socket, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self, linger: float) -> None:
        lonely_since = time.monotonic()
        while True:
            for key, _ in self._selector.select(1.0):
                if key.fileobj is self._switch.socket:
                    self._switch.pump()
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)
            if self._deserted():
                return
            if self._partial:
                lonely_since = time.monotonic()
            elif time.monotonic() - lonely_since > linger and self._ended():
                return

    def _deserted(self) -> bool:
        """The folder was deleted, or belongs to another switch by now: nobody can come here any more."""
        try:
            return _control(self._folder).stat().st_ino != self._control
        except OSError:
            return True

    def _ended(self) -> bool:
        """Under the starters' lock nobody new can come between the last look and the end."""
        with _starting(self._folder):
            self._accept()
            if self._partial:
                return False
            _control(self._folder).unlink(missing_ok=True)
            self._listener.close()
            self._switch.close()
            return True

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            client, _ = self._listener.accept()
            client.setblocking(False)
            self._partial[client] = b""
            self._selector.register(client, selectors.EVENT_READ)

    def _hear(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
            lines = (self._partial[client] + data).split(b"\n")
            for line in lines[:-1]:
                client.sendall(json.dumps(self._answer(line)).encode() + b"\n")
        except OSError:
            data, lines = b"", [b""]
        if data:
            self._partial[client] = lines[-1]
        else:
            self._selector.unregister(client)
            del self._partial[client]
            client.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb, port = request.pop("verb"), (str(request["port"][0]), int(request.pop("port")[1]))
            return {"result": self._do(verb, port, request)}
        except (QemuError, ValueError, KeyError, TypeError, AttributeError) as error:
            return {"error": f"the switch refuses {line[:200]!r}: {error}"}

    def _do(self, verb: str, port: Address, arguments: dict[str, Any]) -> Any:
        match verb:
            case "plug":
                trunk = arguments.pop("trunk")
                self._switch.plug(port, Plug(**arguments, trunk=None if trunk is None else frozenset(trunk)))
            case "unplug":
                self._switch.unplug(port)
            case "cut":
                self._switch.cut(port, bool(arguments["cut"]))
            case "lose":
                self._switch.lose(port, float(arguments["fraction"]))
            case "counters":
                return asdict(self._switch.counters(port))
            case "heard":
                return self._switch.heard(port)
            case _:
                raise QemuError(f"there is no verb {verb!r}")
        return None


def _control(folder: Path) -> Path:
    return folder / "control"


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _near(folder: Path) -> Iterator[str]:
    """A short name of ``folder``: addresses of Unix sockets end at 107 bytes, folders need not."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _connected(folder: Path, seconds: float) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(seconds)
    try:
        with _near(folder) as near:
            client.connect(f"{near}/{_control(folder).name}")
    except OSError:
        client.close()
        raise
    return client


def _start(folder: Path, seconds: float) -> None:
    """Returns once the switch listens: its starter process ends only then."""
    try:
        with (folder / "log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "harness.qemu.switchboard", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=seconds,
                check=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        said = (folder / "log").read_text(errors="replace").strip().splitlines()
        raise QemuError(f"the switch in {folder} did not start: {said[-1] if said else error}") from error


def _inherited(address: Address) -> Switch:
    """A switch at ``address``, as soon as one that was killed has left it."""
    until = time.monotonic() + _HANDOVER
    while True:
        try:
            return Switch(address)
        except QemuError as error:
            why = error.__cause__
            if not isinstance(why, OSError) or why.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
        time.sleep(0.02)  # noqa: TID251  this package stands without harness.core


def main(folder: Path, linger: float = LINGER) -> None:
    """Bind everything, go to the background, serve until nobody is left."""
    server = _Server(folder)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    server.serve(linger)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
