"""COM ports as named pipes: the Unix sockets that .NET looks for where it looks for a named pipe."""

from __future__ import annotations

import contextlib
import ntpath
import socket
import threading
from pathlib import Path

from harness.twins.engine import EngineMachine
from harness.twins.engine.serial_server import SerialServer
from harness.twins.hyperv.emulated.machines import Vm


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


class Pipe(SerialServer):
    """One: a client at a time, which types into the port, and gets what it says from then on.

    What is said to nobody is lost, as on Windows; but the first client after power-on gets all, for there it finds the
    pipe before the machine runs.
    """

    def __init__(self, path: str, place: Path, vm: Vm) -> None:
        self.path = path
        self._place = place
        self._vm = vm
        place.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(place))
        place.chmod(0o600)
        super().__init__(listener, lambda: vm.machine if vm.on else None, self._first_hears_all)

    def close(self) -> None:
        """No client any more."""
        super().close()
        with contextlib.suppress(OSError):
            self._place.unlink()

    def _first_hears_all(self, machine: EngineMachine) -> int:
        unheard, self._vm.unheard = self._vm.unheard, False
        return 0 if unheard else machine.serial_path.stat().st_size
