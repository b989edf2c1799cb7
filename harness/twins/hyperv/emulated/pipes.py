"""COM ports as named pipes: the Unix sockets that .NET looks for where it looks for a named pipe."""

from __future__ import annotations

import contextlib
import ntpath
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.twins.engine import EngineError
from harness.twins.hyperv.emulated.machines import Vm

_STEP: Final = 0.05


class Pipes:
    """The pipes of all machines. A pipe is there while its machine runs, as on Windows.

    Args:
        prefix: where .NET looks, up to the pipe's name.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._open: dict[str, Pipe] = {}

    def changed(self, vm: Vm) -> None:
        """The machine was started or stopped, or its port is another pipe."""
        path = vm.config.com[1]
        wanted = path if path and vm.on and vm.machine is not None else ""
        with self._lock:
            present = self._open.get(vm.key)
            if present is not None and (present.path != wanted or present.over):
                present.close()
                del self._open[vm.key]
            if wanted and vm.key not in self._open:
                place = Path(self._prefix + ntpath.basename(wanted))
                self._open[vm.key] = Pipe(wanted, place, vm)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            for pipe in self._open.values():
                pipe.close()
            self._open.clear()


class Pipe:
    """One: a client at a time, which types into the port, and gets what it says from then on.

    What is said to nobody is lost, as on Windows; but the first client after power-on gets all, for there it finds the
    pipe before the machine runs.
    """

    def __init__(self, path: str, place: Path, vm: Vm) -> None:
        self.path = path
        self._place = place
        self._vm = vm
        self._over = threading.Event()
        place.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(place))
        place.chmod(0o600)
        self._socket.listen(16)  # one is served at a time, and nobody who comes meanwhile hangs in connect
        self._socket.settimeout(1)
        self._from = 0
        self._thread = threading.Thread(target=self._serve, name="pipe", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it is closed."""
        return self._over.is_set()

    def close(self) -> None:
        """No client any more."""
        self._over.set()
        self._socket.close()
        with contextlib.suppress(OSError):
            self._place.unlink()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                self._begin()
                gone = threading.Event()  # a client that hangs up makes room for the next at once
                threads = [
                    threading.Thread(target=self._while_there, args=(work, client, gone), daemon=True)
                    for work in (self._more, self._typed)
                ]
                for thread in threads:
                    thread.start()
                threads[0].join()
                client.shutdown(socket.SHUT_RDWR)

    def _begin(self) -> None:
        machine = self._vm.machine
        if machine is None:
            raise ConnectionError
        self._from = 0 if self._vm.unheard else machine.serial_path.stat().st_size
        self._vm.unheard = False

    def _more(self, client: socket.socket) -> None:
        machine = self._vm.machine
        if machine is None:
            raise ConnectionError
        with machine.serial_path.open("rb") as log:
            if os.fstat(log.fileno()).st_size < self._from:
                self._from = 0  # begun anew at power-on
            log.seek(self._from)
            data = log.read(65536)
        if data:
            client.sendall(data)
            self._from += len(data)
        else:
            self._over.wait(_STEP)

    def _typed(self, client: socket.socket) -> None:
        data = client.recv(4096)
        machine = self._vm.machine
        if not data or machine is None:
            raise ConnectionError
        machine.serial_write(data)

    def _while_there(self, step: Callable[[socket.socket], None], client: socket.socket, gone: threading.Event) -> None:
        try:
            with contextlib.suppress(OSError, EngineError):
                while not self._over.is_set() and not gone.is_set() and self._vm.on:
                    step(client)
        finally:
            gone.set()
