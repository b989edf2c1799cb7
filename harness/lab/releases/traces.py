"""What a guest holds: packages, processes, files and modules; so that what a release leaves behind is seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from harness.core import Deadline, GuestError, Pending, wait_for
from harness.guest import Guest

_PATIENCE = timedelta(minutes=3)
MOST = 20
"""So many of a kind are named."""

# What changes by itself on a machine at rest: logs, caches, states that programs write as they go. Device nodes, /proc
# and /sys are no files of anybody; the package manager's own books are read by asking it.
_NOT = (
    *("/dev", "/proc", "/sys", "/tmp"),  # noqa: S108
    *("/var/backups", "/var/cache", "/var/log", "/var/tmp"),  # noqa: S108
    *("/var/lib/apt", "/var/lib/chrony", "/var/lib/dpkg", "/var/lib/private", "/var/lib/rpm", "/var/lib/ucf"),
    "/usr/lib/sysimage/rpm",  # where Fedora and SUSE keep the books of rpm
    *("/var/lib/systemd/coredump", "/var/lib/systemd/random-seed", "/var/lib/systemd/timers", "/root/.ssh"),
    *("/run/cloud-init", "/run/lock", "/run/log", "/run/sshd", "/run/sudo", "/run/systemd", "/run/udev", "/run/user"),
)

# Entries end with NUL: a name of a file may hold a newline. Read before files, so that this script's own are the same.
_SCRIPT = r"""
for place in /proc/[0-9]*; do
    program=$(readlink "$place/exe") && printf 'process %s\0' "$program"
done
while read -r module rest; do printf 'module %s\0' "$module"; done </proc/modules
if command -v dpkg-query >/dev/null; then
    dpkg-query --show --showformat '${binary:Package} ${db:Status-Status} ${Version}\n' |
        while read -r line; do printf 'package %s\0' "$line"; done
fi
if command -v rpm >/dev/null; then
    rpm --query --all 2>/dev/null | while read -r line; do printf 'package %s\0' "$line"; done
fi
systemctl list-units --all --plain --no-legend --full --state=failed,not-found --type=service |
    while read -r unit load active rest; do
        # One that is named by others and not there is none.
        [ "$load $active" = "not-found inactive" ] || printf 'unit %s %s %s\0' "$unit" "$load" "$active"
    done
set -- "$@" -o -printf 'file %p\0'
find / /run -xdev \( "$@" \)
true
"""


@dataclass(frozen=True, slots=True)
class Traces:
    """What a guest holds at one moment, as words: ``file /etc/x``, ``package x installed 1``, ``module x`` ..."""

    all: frozenset[str]

    @classmethod
    def of(cls, guest: Guest) -> Traces:
        """Look now.

        Raises:
            GuestError: it could not be read whole.
        """
        leave_out: list[str] = []
        for path in _NOT:
            leave_out += ["-path", path, "-prune", "-o"]
        done = guest.run(["sh", "-c", _SCRIPT, "-", *leave_out[:-1]], timeout=_PATIENCE)
        if done.cut:
            raise GuestError(f"{guest.name}: it holds more files than can be compared", operation="traces")
        words = done.stdout.decode("utf-8", "backslashreplace").split("\0")
        return cls(frozenset(word for word in words if word))

    def kind(self, kind: str) -> frozenset[str]:
        """Those of one kind."""
        return frozenset(word for word in self.all if word.startswith(f"{kind} "))

    def beyond(self, before: Traces) -> list[str]:
        """What is here and was not, sorted; caches that any program may write are nobody's."""
        return sorted(word for word in self.all - before.all if not _nobodys(word))

    def replaced(self) -> list[str]:
        """Programs that run and whose file is gone: processes of what was there before."""
        return sorted(word for word in self.kind("process") if word.endswith(" (deleted)"))


def left_behind(guest: Guest, before: Traces, deadline: Deadline) -> list[str]:
    """What a guest has that it did not have; what goes by itself until the deadline does not count.

    Args:
        guest: which.
        before: what it had.
        deadline: how long something may take to go.
    """
    found: list[str] = []

    def gone() -> bool | Pending:
        nonlocal found
        found = Traces.of(guest).beyond(before)
        return Pending(told(found)) if found else True

    try:
        wait_for("nothing to be left behind", gone, deadline, every=2, fault=_StillThere)
    except _StillThere:
        return found
    return []


def told(words: Iterable[str]) -> str:
    """For messages: a few of each kind, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for word in words:
        kinds.setdefault(word.partition(" ")[0], []).append(word.partition(" ")[2])
    parts = []
    for kind, names in kinds.items():
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        parts.append(f"{kind}: {', '.join(names[:MOST])}{more}")
    return "; ".join(parts)


def _nobodys(word: str) -> bool:
    return "/__pycache__" in word


class _StillThere(Exception):
    pass
