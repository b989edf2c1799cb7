"""Kernel modules of a guest: which are loaded, and how one is taken out and put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from harness.guest.probe import Probe
from harness.guest.result import Result

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Module:
    """A loaded module: a line of ``/proc/modules``, proc(5).

    Args:
        name: with underscores, as the kernel has it.
        users: how many there are of it, programs and devices included.
        used_by: the modules among them.
        state: ``Live``, ``Loading``, ``Unloading``.
    """

    name: str
    users: int
    used_by: frozenset[str]
    state: str


def parse_modules(data: bytes) -> dict[str, Module]:
    """``/proc/modules``, by name; drivers that are built in stand in no line of it."""
    found = {}
    for line in data.decode("ascii").splitlines():
        name, _size, users, used_by, state, *_address = line.split()
        others = frozenset(other for other in used_by.split(",") if other not in {"", "-"})
        found[name] = Module(name, int(users), others, state)
    if not found:
        raise ValueError("not one module is loaded")
    return found


class Commands(Protocol):
    """Whoever runs commands in a guest: the guest itself, by ssh, or its console."""

    def run(self, argv: Sequence[str], *, timeout: timedelta = ..., stdin: bytes = ..., check: bool = ...) -> Result:
        """Run one as root."""


MODULES = Probe.file("/proc/modules", parse_modules)


class Modules:
    """The modules of a guest. Every call reads afresh.

    Args:
        name: the guest's name, for messages.
        commands: by what it is asked: its console, where its network hangs on the module.
        timeout: for each command.
    """

    def __init__(self, name: str, commands: Commands, timeout: timedelta = timedelta(minutes=1)) -> None:
        self._name, self._commands, self._timeout = name, commands, timeout

    def get(self, module: str) -> Module | None:
        """A module, if it is loaded: ``/proc/modules``."""
        return MODULES.value(self._commands.run(MODULES.argv, timeout=self._timeout), self._name).get(module)

    def unload(self, module: str) -> Result:
        """``modprobe -r``; its status is not 0 where it is in use. What it says proves nothing: see :meth:`get`."""
        return self._commands.run(["modprobe", "-r", "--", module], timeout=self._timeout, check=False)

    def load(self, module: str) -> Result:
        """``modprobe``."""
        return self._commands.run(["modprobe", "--", module], timeout=self._timeout, check=False)


@dataclass(frozen=True, slots=True)
class Driven:
    """What drives a network interface now.

    Args:
        module: the module of its driver: ``/sys/class/net/NAME/device/driver/module``; None where it is built in.
        index: its ``ifindex``, which no interface of the same boot gets again (kernel, ``dev_new_index``).
    """

    module: str | None
    index: int


# One process. A driver that is built in has no link to a module.
_DRIVEN = 'cat "/sys/class/net/$1/ifindex" && readlink "/sys/class/net/$1/device/driver/module" || true'


def parse_driven(data: bytes) -> Driven:
    """The index, and in a second line, if there is one, the link."""
    index, *module = data.decode("ascii").splitlines()
    return Driven(module[0].rpartition("/")[2] if module else None, int(index))


def driven(guest: Guest, interface: str) -> Driven:
    """What drives an interface of a guest."""
    return guest.read(Probe(f"driver of {interface}", ("sh", "-c", _DRIVEN, "-", interface), parse_driven))
