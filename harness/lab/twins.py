"""Which twins are up: the record of each, found by every process of a run and by every later command.

What a twin says of itself when it comes up (where it is reached, its certificate, its account) is its record: a file of
this controller that only its owner can read. :mod:`harness.lab.attend` starts twins and ends them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.backends.registry import HostSettings
from harness.core import LabError, paths
from harness.core.secrets import tell
from harness.lab.models import Host

OF_RUN = "INTEROP_TWIN_RUN"
"""Environment variable: programs that a run starts, runs of pytest among them, find that run's twins by it."""


class NoTwin(LabError):
    """This machine cannot have such a twin, because what it is made of is not here: its tests are skipped."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A twin that is up, is coming up, or could not be started.

    Args:
        lab: the lab file's path.
        section: the section of the lab file that it stands in for.
        run: the run it belongs to and ends with; None: it outlives runs, which then use it.
        pid: its process; while it comes up, whoever starts it.
        born: when that process began, as the kernel counts, because process numbers come back.
        folder: where its disks and its log are.
        asked: how it was started.
        said: what it said when it was up; None: it is not up.
        error: why it could not be started.
        impossible: it cannot be had on this machine at all.
    """

    lab: str
    section: str
    run: str | None
    pid: int
    born: int
    folder: str
    asked: dict[str, Any] = field(repr=False)
    said: dict[str, Any] | None = field(default=None, repr=False)
    error: str | None = None
    impossible: bool = False

    @property
    def alive(self) -> bool:
        """Whether its process is still there."""
        return born(self.pid) == self.born

    @property
    def file(self) -> Path:
        """Where its record is."""
        # Two labs may have one name, in two folders.
        lab = hashlib.sha256(self.lab.encode()).hexdigest()[:6]
        run = f"@{self.run}" if self.run else ""
        return records() / f"{Path(self.lab).stem}-{self.section}-{lab}{run}.json"

    @property
    def log(self) -> Path:
        """What it wrote to its standard error."""
        return Path(self.folder) / "log"

    def save(self, *, first: bool = False) -> bool:
        """Write the record, whole, for its owner's eyes alone.

        Args:
            first: only if there is none yet.

        Returns:
            Whether it was written.

        Raises:
            LabError: the state folder cannot be written.
        """
        part = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(asdict(self), file)
            if first:
                os.link(part, self.file)
                part.unlink()
            else:
                part.replace(self.file)
        except FileExistsError:
            part.unlink(missing_ok=True)
            return False
        except OSError as error:
            part.unlink(missing_ok=True)
            raise LabError(f"the record of a twin, {self.file}, cannot be written: {error.strerror}") from error
        return True


def records() -> Path:
    """The folder of all records."""
    folder = paths.state() / "twins"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def known() -> Iterator[Twin]:
    """Every record of this controller, whether its twin still is there or not."""
    for path in sorted(records().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):  # removed meanwhile, or of another version
            yield Twin(**json.loads(path.read_bytes()))


def find(lab: Path, section: str, run: str | None = None) -> Twin | None:
    """The twin to use: the run's own, that of the run this process is part of, or one that outlives runs.

    Args:
        lab: the lab file's path.
        section: the section of the lab file that it stands in for.
        run: the run that asks.

    Raises:
        LabError: the run could not start its twin; says why.
    """
    owners = dict.fromkeys((run, os.environ.get(OF_RUN), None))
    ours = {twin.run: twin for twin in known() if (twin.lab, twin.section) == (str(lab), section)}
    for twin in [ours[owner] for owner in owners if owner in ours]:
        if twin.error is not None:
            raise (NoTwin if twin.impossible else LabError)(twin.error, host=section, operation="twin")
        if twin.said is not None and twin.alive:
            return twin
    return None


def settings_of(host: Host, lab: Path, run: str | None = None) -> HostSettings:
    """How ``host`` is reached: its settings, completed by where its twin is if it has one.

    Args:
        host: a host of the lab.
        lab: the lab file's path.
        run: the run that asks.

    Raises:
        LabError: its twin is not up.
    """
    if host.twin is None:
        return host.settings
    twin = find(lab, host.twin, run)
    if twin is None or twin.said is None:
        raise LabError(
            "its twin is not up",
            host=host.name,
            operation="connect",
            hint=f"`interop twin up {host.twin}` starts one that outlives runs; pytest starts one by itself",
        )
    if "password" in twin.said:
        tell(str(twin.said["password"]))
    return host.settings.at_twin(twin.said)


def born(pid: int) -> int | None:
    """When a living process began, in clock ticks since this machine did (``/proc/PID/stat``, field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None
