"""The twin as a whole: the WS-Man host in front, the table of cmdlets behind it, and guests behind that."""

from __future__ import annotations

import base64
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness import agent
from harness.core import UsageError
from harness.twins.engine import EngineSettings
from harness.twins.hyperv import console_host
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.emulated import modules, relay
from harness.twins.hyperv.emulated.bridge import Bridge
from harness.twins.hyperv.emulated.world import World, WorldSettings
from harness.twins.hyperv.guests import Guests
from harness.twins.hyperv.host import Host, HostSettings
from harness.twins.hyperv.programs import Program, Start, policed, powershell

_LONGEST = 100
"""Bytes of a Unix socket's path, with room to spare (sun_path has 108, unix(7)); .NET knows no way around it."""


class Twin:
    """A twin that is up until it is closed. A context manager."""

    def __init__(self, config: TwinConfig) -> None:
        folder = config.folder.absolute()
        self.store = folder / "store"
        self.store.mkdir(parents=True, exist_ok=True)
        self.world = World(
            WorldSettings(
                folder,
                config.name,
                config.year,
                tuple(config.networks),
                config.memory,
                config.cpus,
                config.merge_seconds,
                config.stop_seconds,
                module=config.module,
                operators=None if config.operators is None else frozenset(map(str.casefold, config.operators)),
                feature=config.feature,
                free=config.free,
                nodes=config.nodes,
            )
        )
        with ExitStack() as ends:
            if config.guests:
                networks = {name: each.network() for name, each in config.networks.items()}
                settings = EngineSettings(folder / "engine", networks, config.accel, config.probe)
                guests = self.world.engine = Guests(settings, self.world)
                ends.callback(guests.close)
            ends.callback(self.world.pipes.close)
            self._short = _short(folder)
            if self._short != folder:
                ends.callback(shutil.rmtree, self._short, ignore_errors=True)
            bridge = Bridge(self._short / "cmdlets", self.world)
            ends.callback(bridge.close)
            self.engine = "pwsh" if config.powershell != "emulated" and shutil.which("pwsh") else "emulated"
            if config.powershell == "pwsh" and self.engine != "pwsh":
                raise UsageError("pwsh is not on PATH", hint="install PowerShell, or leave `powershell: auto`")
            self.host = Host(
                HostSettings(
                    folder=folder,
                    name=config.name,
                    accounts=config.accounts,
                    programs={"powershell": self._powershell(folder, config)},
                    quotas=config.limits(),
                    schemes=config.schemes,
                    unencrypted=config.unencrypted,
                    plan=config.faults(),
                    certificate=config.certificate,
                    build=self.world.settings.build,
                    keytab=config.keytab,
                    clients=config.clients,
                )
            )
            ends.callback(self.host.close)
            self.world.plan = self.host.plan
            self._ends = ends.pop_all()

    def said(self) -> dict[str, Any]:
        """The line that tells how it is reached."""
        user, password = next(iter(self.host.accounts.items()))
        return {
            "kind": "hyperv",
            "endpoint": self.host.https,
            "http": self.host.http,
            "ca": str(self.host.identity.authority),
            "fingerprint": self.host.identity.digest.hex(),
            "user": user,
            "password": password,
            "store": str(self.store),
            "switches": [switch.name for switch in self.world.switches],
            "powershell": self.engine,
            "agent": agent.digest(),
            "folder": str(self.world.settings.folder),
            "pid": os.getpid(),
        }

    def close(self) -> None:
        """End it, and all that runs in it."""
        self._ends.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _powershell(self, folder: Path, config: TwinConfig) -> Program:
        environment = {modules.SOCKET: str(self._short / "cmdlets")}
        constrained = config.language == "constrained"
        if self.engine == "pwsh":
            modules.write(folder / "modules", self.world.cmdlets)
            real = powershell(folder / "modules", environment, constrained=constrained)
            if real is not None:
                return real
        if constrained:
            environment[relay.CONSTRAINED] = "1"
        environment[relay.BOOTSTRAP] = base64.b64encode(agent.bootstrap().encode("utf-16-le")).decode("ascii")

        def start(arguments: Sequence[str]) -> Start:
            argv = (sys.executable, "-IS", relay.__file__, *arguments)
            return Start(argv, environment, reads=console_host.reads_input(arguments))

        return policed(start)


def _short(folder: Path) -> Path:
    """Where sockets can lie: the folder itself, or one of its own where its name is too long for that."""
    if len(os.fsencode(folder / "cmdlets")) <= _LONGEST:
        return folder
    return Path(tempfile.mkdtemp(prefix="interop-twin-"))
