"""The shells of a host: who owns them, what runs in them, and when they end by themselves."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.twins.hyperv.faults import fault, no_command, no_shell
from harness.twins.hyperv.processes import Command
from harness.twins.hyperv.quotas import Quotas

_SWEEP_SECONDS: Final = 0.25


@dataclass(slots=True)
class Shell:
    """A shell.

    Args:
        shell_id: its id.
        owner: the account that created it, and alone may use it.
        client: the address that created it.
        idle_seconds: it ends when nobody used it for so long.
        environment: variables for its programs.
        folder: where they start.
        born: when it was created, by the table's clock.
    """

    shell_id: str
    owner: str
    client: str
    idle_seconds: float
    environment: Mapping[str, str]
    folder: Path
    born: float
    used: float
    busy: int = 0
    operations: int = 0
    commands: dict[str, Command] = field(default_factory=dict)


class Shells:
    """All shells. Threads share it.

    Args:
        quotas: how many there may be, and how long.
        clock: seconds that only grow.
    """

    def __init__(self, quotas: Quotas, clock: Callable[[], float] = time.monotonic) -> None:
        self._quotas = quotas
        self._clock = clock
        self._lock = threading.RLock()
        self._shells: dict[str, Shell] = {}
        self._over = threading.Event()
        self._janitor = threading.Thread(target=self._sweep_for_ever, name="shells", daemon=True)
        self._janitor.start()

    def create(
        self, owner: str, client: str, idle_seconds: float | None, environment: Mapping[str, str], folder: Path
    ) -> Shell:
        """A new shell.

        Raises:
            WsmanError: the owner has as many as one may have.
        """
        now = self._clock()
        with self._lock:
            owners = [shell.owner for shell in self._shells.values()]
            if owners.count(owner) >= self._quotas.shells_per_user:
                raise fault("shells")
            if owner not in owners and len(set(owners)) >= self._quotas.users:
                raise fault("users")
            idle = self._quotas.idle_seconds if idle_seconds is None else idle_seconds
            shell = Shell(str(uuid.uuid4()).upper(), owner, client, idle, environment, folder, now, now)
            self._shells[shell.shell_id] = shell
            return shell

    def use(self, shell_id: str, owner: str) -> Use:
        """The shell, kept from idling while it is used.

        Raises:
            WsmanError: there is none (any more), or it is somebody else's.
        """
        self.sweep()
        with self._lock:
            shell = self._shells.get(shell_id.upper())
            if shell is None:
                raise no_shell(shell_id)
            if shell.owner != owner:
                raise fault("denied")
            return Use(self, shell)

    def delete(self, shell_id: str) -> None:
        """End it and all that runs in it. No-op when it is gone."""
        with self._lock:
            shell = self._shells.pop(shell_id.upper(), None)
        if shell is not None:
            for command in list(shell.commands.values()):
                command.end()

    def add(self, shell: Shell, make: Callable[[], Command]) -> str:
        """Run a command in it; returns its id.

        Raises:
            WsmanError: a quota is used up, or the shell has ended.
        """
        with self._lock:
            if self._shells.get(shell.shell_id) is not shell:
                raise no_shell(shell.shell_id)
            if len(shell.commands) >= self._quotas.commands_per_shell:
                raise fault("commands")
            if shell.operations >= self._quotas.operations_per_shell:
                raise fault("operations")
            shell.operations += 1
            command_id = str(uuid.uuid4()).upper()
            shell.commands[command_id] = make()
            return command_id

    def command(self, shell: Shell, command_id: str) -> Command:
        """One of its commands.

        Raises:
            WsmanError: there is none (any more).
        """
        with self._lock:
            command = shell.commands.get(command_id.upper())
        if command is None:
            raise no_command(command_id)
        return command

    def end(self, shell: Shell, command_id: str) -> None:
        """End a command and forget it; ends that are asked for twice are one."""
        with self._lock:
            command = shell.commands.pop(command_id.upper(), None)
        if command is not None:
            command.end()

    def present(self) -> list[Shell]:
        """All that have not ended."""
        with self._lock:
            return list(self._shells.values())

    def age(self, shell: Shell) -> tuple[float, float]:
        """For how long it has been there, and unused; in seconds."""
        now = self._clock()
        return now - shell.born, 0.0 if shell.busy else now - shell.used

    def sweep(self) -> None:
        """End those whose time is over."""
        now = self._clock()
        lifetime = self._quotas.lifetime_seconds
        with self._lock:
            over = [
                shell.shell_id
                for shell in self._shells.values()
                if (not shell.busy and now - shell.used >= shell.idle_seconds)
                or (lifetime is not None and now - shell.born >= lifetime)
            ]
        for shell_id in over:
            self.delete(shell_id)

    def close(self) -> None:
        """End all."""
        self._over.set()
        self._janitor.join()
        for shell in self.present():
            self.delete(shell.shell_id)

    def touch(self, shell: Shell, step: int) -> None:
        """Somebody begins (1) or ends (-1) to use it."""
        with self._lock:
            shell.busy += step
            shell.used = self._clock()

    def _sweep_for_ever(self) -> None:
        while not self._over.wait(_SWEEP_SECONDS):
            self.sweep()


class Use:
    """A shell in use, as a context manager."""

    def __init__(self, shells: Shells, shell: Shell) -> None:
        self._shells = shells
        self._shell = shell
        shells.touch(shell, 1)

    def __enter__(self) -> Shell:
        return self._shell

    def __exit__(self, *_: object) -> None:
        self._shells.touch(self._shell, -1)
