"""The engine: all machines of a twin."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from harness.twins.engine.api import Engine, EngineMachine, Watcher
from harness.twins.engine.host import Host
from harness.twins.engine.layers import Layer
from harness.twins.engine.machine import Machine
from harness.twins.engine.personality import Personality
from harness.twins.engine.values import EngineError, EngineSettings, Hardware


def open_engine(settings: EngineSettings, personality: Personality, watcher: Watcher | None = None) -> Engine:
    """An engine without machines. Its folder is its own: what it finds there is not looked at.

    Args:
        settings: where, and with what.
        personality: what its machines pass for.
        watcher: who hears what happens to machines unasked.

    Raises:
        EngineError: QEMU is missing.
    """
    return _Engine(settings, personality, watcher)


class _Engine:
    def __init__(self, settings: EngineSettings, personality: Personality, watcher: Watcher | None) -> None:
        self._lock = threading.Lock()
        self._machines: dict[str, Machine] = {}
        self._coming: set[str] = set()
        self._host = Host(settings, personality, watcher, self._kept)

    @property
    def accel(self) -> str:
        """``kvm`` or ``tcg``."""
        return self._host.accel

    @property
    def version(self) -> str:
        """QEMU's, as it says it."""
        return self._host.version

    def add(self, key: str, hardware: Hardware) -> EngineMachine:
        """A machine that is off. :class:`EngineError` when the key is taken."""
        with self._lock:
            if key in self._machines or key in self._coming:
                raise EngineError(f"there is a machine {key!r} already", operation="add")
            self._coming.add(key)
        try:
            # Not under the lock: taking over the image that its disk starts from may take a while.
            machine = Machine(key, hardware, self._host, self._gone)
            with self._lock:
                self._machines[key] = machine
            return machine
        finally:
            with self._lock:
                self._coming.discard(key)

    def machine(self, key: str) -> EngineMachine:
        """The one of this key. :class:`EngineError` when there is none."""
        with self._lock:
            if key not in self._machines:
                raise EngineError(f"there is no machine {key!r}", operation="machine")
            return self._machines[key]

    def machines(self) -> tuple[EngineMachine, ...]:
        """All of them."""
        with self._lock:
            return tuple(self._machines.values())

    def delete_disk(self, path: Path) -> None:
        """Delete a disk that is on no machine; what clones of others stand on stays. Idempotent."""
        for machine in self.machines():
            if any(disk.path == path for disk in machine.hardware.disks):
                raise EngineError(f"{path} is a disk of {machine.hardware.name}", operation="delete disk")
        self._host.layers.forget(path)
        self._host.layers.sweep()

    def close(self) -> None:
        """End every process; files stay."""
        for machine in self.machines():
            machine.power_off()
        self._host.close()

    def _gone(self, key: str) -> None:
        with self._lock:
            self._machines.pop(key, None)

    def _kept(self) -> Iterable[Layer]:
        for machine in list(self._machines.values()):
            yield from machine.layers()
