"""What a guest's service did to its file systems when the host wanted them still, as the service itself tells.

Each hypervisor's service tells it in its own way; expectations name it, so that checks need not know which one it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from harness.core import GuestError, UsageError
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

FREEZE, THAW = "freeze", "thaw"


class FreezeLog(Protocol):
    """What was done since :meth:`begin`."""

    def begin(self) -> None:
        """Have it told from now on."""

    def told(self) -> tuple[str, ...]:
        """Words in their order: ``freeze``, ``thaw``, or what the service calls a failure."""


# In memory: while file systems are frozen, nobody could write to them, and a hook that tries holds up the service.
_FILE = "/run/interop-freezes"
_HOOK = f'#!/bin/sh\necho "$1" >>{_FILE}\n'.encode()
_TOLD = re.compile(r"freeze|thaw|freezeFail")


def parse_hooked(data: bytes | None) -> tuple[str, ...]:
    """A word a line; nothing was told where there is no file."""
    words = tuple((data or b"").decode("ascii").split())
    for word in words:
        if not _TOLD.fullmatch(word):
            raise ValueError(f"a hook was called with {word!r}")
    return words


HOOKED = Probe.maybe_file(_FILE, parse_hooked)


class Hooks:
    """A script in a folder whose scripts a service calls with ``freeze`` before and ``thaw`` after.

    VMware's tools do so with no word more (open-vm-tools, ``services/plugins/vmbackup/scriptOps.c``).
    """

    def __init__(self, guest: Guest, folder: str) -> None:
        self._guest, self._folder = guest, folder

    def begin(self) -> None:
        """Put the script there, and forget what was told."""
        self._guest.files.remove(_FILE)
        self._guest.files.write(f"{self._folder}/interop", _HOOK, mode=0o755)

    def told(self) -> tuple[str, ...]:
        """What it was called with."""
        return self._guest.read(HOOKED)


# Where distributions put what comes with QEMU's agent, of which this calls the scripts in the folder beside it.
_AGENT_FOLDERS = ("/etc/qemu", "/etc/qemu-ga")


class AgentHooks(Hooks):
    """The same of QEMU's agent, which calls one program (``--fsfreeze-hook``), and that the scripts in its folder.

    Debian's agent is not told of the program that Debian ships: its configuration (``qga/main.c``) is made to.

    Args:
        guest: whose.
        units: the names that distributions give the agent's unit.
    """

    def __init__(self, guest: Guest, *units: str) -> None:
        self._agent = guest.services.first(units).name
        place = next((folder for folder in _AGENT_FOLDERS if guest.files.exists(f"{folder}/fsfreeze-hook")), None)
        if place is None:
            raise GuestError(f"{guest.name}: the agent came without fsfreeze-hook", operation="freezes")
        self._program = f"{place}/fsfreeze-hook"
        super().__init__(guest, f"{self._program}.d")

    def begin(self) -> None:
        """Also start the agent anew, so that it reads its configuration."""
        super().begin()
        settings = f"[general]\nfsfreeze-hook={self._program}\n"
        self._guest.files.write("/etc/qemu/qemu-ga.conf", settings.encode())
        self._guest.run(["systemctl", "restart", "--", self._agent])


_VSS = re.compile(r"VSS: op=(FREEZE|THAW): (succeeded|failed)")


def parse_vss(data: bytes) -> tuple[str, ...]:
    """The lines that ``hv_vss_daemon`` (tools/hv in Linux) writes for each operation, among its others."""
    lines = (_VSS.search(line) for line in data.decode("utf-8", "backslashreplace").splitlines())
    return tuple(f"{one[1].lower()}{'' if one[2] == 'succeeded' else 'Fail'}" for one in lines if one)


class DaemonJournal:
    """What Hyper-V's VSS daemon says in the journal: it calls no scripts.

    Args:
        guest: whose.
        units: the names that distributions give the daemon's unit.
    """

    def __init__(self, guest: Guest, *units: str) -> None:
        self._guest, self._unit = guest, guest.services.first(units).name
        self._before = 0

    def begin(self) -> None:
        """Overlook what was told before."""
        self._before = len(self._all())

    def told(self) -> tuple[str, ...]:
        """``freeze`` and ``thaw``; ``freezeFail`` and ``thawFail`` where it failed."""
        return self._all()[self._before :]

    def _all(self) -> tuple[str, ...]:
        argv = ("journalctl", "--no-pager", "--quiet", "--boot", "--output=cat", "--unit", self._unit)
        return self._guest.read(Probe(f"journal of {self._unit}", argv, parse_vss))


KINDS = {"agent-hooks": AgentHooks, "hooks": Hooks, "vss-journal": DaemonJournal}


def freeze_log(guest: Guest, words: str) -> FreezeLog:
    """The one that expectations name.

    Args:
        guest: whose.
        words: its kind, and where in the guest it is: ``hooks /etc/vmware-tools/backupScripts.d``.

    Raises:
        UsageError: there is no such kind.
        GuestError: the guest has no such service.
    """
    kind, *where = words.split()
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of freeze log", hint=f"one of {', '.join(KINDS)}")
    made: FreezeLog = KINDS[kind](guest, *where)
    return made
