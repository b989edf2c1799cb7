"""The shells that this controller's processes have on a host, written down so that those of killed ones can be ended.

A host ends a shell by itself only when nobody has used it for hours; an account has thirty of them, and then nobody
else gets in, not even who would clear up. Which process a shell is of, the host does not know, and its id is the host's
choice: so it is written down the moment it is known. One whose opener is killed before that is left to the host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from harness.backends.hyperv.errors import Ended
from harness.core import LabError

_NOTE = re.compile(r"(?P<process>\d+)-(?P<born>\d+)-(?P<shell>[0-9A-Za-z-]+)")


class Shells:
    """Those on one host.

    Args:
        folder: of this host and controller; a file a shell.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def opened(self, shell: str) -> None:
        """This process has one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._note(shell).touch()

    def closed(self, shell: str) -> None:
        """It is gone. Idempotent."""
        self._note(shell).unlink(missing_ok=True)

    def end_orphans(self, end: Callable[[str], object]) -> None:
        """End the shells of processes that died.

        Args:
            end: ends one; what it raises says whether the next is worth trying. Whoever opens the host then is told
                what is wrong with it.
        """
        for path in sorted(self._folder.glob("*-*-*")):
            found = _NOTE.fullmatch(path.name)
            if found is None or _born(int(found["process"])) == int(found["born"]):
                continue
            try:
                end(found["shell"])
            except Ended:  # the host has ended it
                pass
            except LabError:
                return
            path.unlink(missing_ok=True)

    def _note(self, shell: str) -> Path:
        me = os.getpid()
        return self._folder / f"{me}-{_born(me)}-{shell}"


def _born(process: int) -> int | None:
    """When a living process began (``/proc/PID/stat``, field 22): its number may be another's by now."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
