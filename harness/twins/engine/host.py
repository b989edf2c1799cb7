"""What all machines of an engine share: QEMU itself, the disks, the switch, and who hears of what happens."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.core.process import need
from harness.qemu import QemuError, accel, firmware
from harness.qemu.logs import trim
from harness.qemu.switch import Plug
from harness.qemu.switchboard import SwitchClient
from harness.twins.engine.api import EngineMachine, Watcher
from harness.twins.engine.layers import Layer, Layers
from harness.twins.engine.personality import Personality
from harness.twins.engine.values import EngineError, EngineSettings, ExitReason, SwitchNetwork

_TRIM_SECONDS = 15.0


class Host:
    """One per engine."""

    def __init__(
        self,
        settings: EngineSettings,
        personality: Personality,
        watcher: Watcher | None,
        kept: Callable[[], Iterable[Layer]],
    ) -> None:
        self.settings = settings
        self.personality = personality
        self.folder = settings.folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.emulator = settings.emulator or Path(need("qemu-system-x86_64", "qemu-system-x86"))
        self.accel = self._decided()
        self.layers = Layers(self.folder / "disks", kept)
        self._watcher = watcher
        self._news: queue.SimpleQueue[Callable[[Watcher], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._switch: SwitchClient | None = None
        self._logs: set[Path] = set()
        self._over = threading.Event()
        threading.Thread(target=self._tell, name="engine-herald", daemon=True).start()
        threading.Thread(target=self._trim, name="engine-trim", daemon=True).start()

    @property
    def version(self) -> str:
        """QEMU's."""
        try:
            return accel.version(self.emulator)
        except QemuError as error:
            raise EngineError(str(error)) from error

    def firmware(self) -> firmware.Firmware:
        """UEFI for this personality.

        Raises:
            EngineError: none is installed.
        """
        try:
            return firmware.uefi(self.personality.firmware)
        except QemuError as error:
            raise EngineError(str(error), operation="firmware") from error

    def place(self, key: str) -> Path:
        """A machine's own folder."""
        return self.folder / "machines" / hashlib.sha256(key.encode()).hexdigest()[:16]

    def switch(self) -> SwitchClient:
        """The switch of this engine, started when the first machine needs it."""
        with self._lock:
            if self._switch is None:
                try:
                    self._switch = SwitchClient(self.settings.switch or self.folder / "switch")
                except QemuError as error:
                    raise EngineError(str(error), operation="switch") from error
            return self._switch

    def plug(self, port: tuple[str, int], network: SwitchNetwork) -> None:
        """Plug a NIC in."""
        # All machines of an engine share one segment: VLANs and nothing else keep them apart, as port groups do.
        self.switch().plug(port, Plug("twin", network.vlan, network.trunk, network.mtu, network.native))

    def unplug(self, port: tuple[str, int]) -> None:
        """Pull it out, if there is a switch."""
        with contextlib.suppress(QemuError, OSError):
            if self._switch is not None:
                self._switch.unplug(port)

    def keep_trimmed(self, log: Path) -> None:
        """Keep a serial port's log from growing without end."""
        with self._lock:
            self._logs.add(log)

    def exited(self, machine: EngineMachine, reason: ExitReason) -> None:
        """Spread the news."""
        self._news.put(lambda watcher: watcher.exited(machine, reason))

    def rebooted(self, machine: EngineMachine) -> None:
        """Spread the news."""
        self._news.put(lambda watcher: watcher.rebooted(machine))

    def panicked(self, machine: EngineMachine) -> None:
        """Spread the news."""
        self._news.put(lambda watcher: watcher.panicked(machine))

    def close(self) -> None:
        """No more news."""
        self._over.set()
        self._news.put(None)
        if self._switch is not None:
            self._switch.close()

    def remove(self, key: str) -> None:
        """Delete a machine's own folder."""
        shutil.rmtree(self.place(key), ignore_errors=True)

    def _decided(self) -> str:
        asked = self.settings.accel
        if asked != "auto":
            return asked
        kernel, initrd = self.settings.probe or (None, None)
        cache = self.settings.probe_cache or self.folder / "acceleration.json"
        return accel.decide(self.emulator, kernel, initrd, cache).accel.value

    def _tell(self) -> None:
        while (news := self._news.get()) is not None:
            if self._watcher is not None:
                news(self._watcher)

    def _trim(self) -> None:
        """A guest that talks without end must not fill the disk."""
        while not self._over.wait(_TRIM_SECONDS):
            with self._lock:
                logs = set(self._logs)
            for log in logs:
                trim(log)
