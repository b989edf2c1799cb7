"""The engines behind the machine model: one a generation, made when the first machine of it starts."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

from harness.twins.engine import Engine, EngineError, EngineSettings, Watcher, open_engine
from harness.twins.hyperv.personalities import FIRST, SECOND


class Guests:
    """Engines by generation.

    Args:
        settings: for all; each gets a folder of its own below the one that is named.
        watcher: who hears what happens to machines.
    """

    def __init__(self, settings: EngineSettings, watcher: Watcher) -> None:
        self._settings = settings
        self._watcher = watcher
        self._lock = threading.Lock()
        self._engines: dict[int, Engine] = {}

    def __call__(self, generation: int) -> Engine:
        """The engine of a generation."""
        with self._lock:
            if generation not in self._engines:
                folder = self._settings.folder / f"generation{generation}"
                folder.mkdir(parents=True, exist_ok=True)
                personality = FIRST if generation == 1 else SECOND
                # Whatever its generation, a machine is on the same switches.
                settings = replace(self._settings, folder=folder, switch=self._settings.folder / "switch")
                self._engines[generation] = open_engine(settings, personality, self._watcher)
            return self._engines[generation]

    def delete_disk(self, path: Path) -> None:
        """Forget what guests wrote to a disk; one that a machine has stays."""
        with self._lock:
            engines = list(self._engines.values())
        for engine in engines:
            with contextlib.suppress(EngineError):
                engine.delete_disk(path)

    def close(self) -> None:
        """End every guest."""
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
