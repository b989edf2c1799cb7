"""Key-value pairs in a guest on Hyper-V: the pools that ``hv_kvp_daemon`` keeps, and the daemon itself.

Linux, ``tools/hv/hv_kvp_daemon.c``: pools are files of records; the daemon reads and writes ``/dev/vmbus/hv_kvp``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.backends.protocol import Exchange
from harness.backends.verbs import able
from harness.core import Deadline
from harness.guest.mailbox import KEY_BYTES, VALUE_BYTES, parse_pool
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

DEVICE = "/dev/vmbus/hv_kvp"


@dataclass(frozen=True, slots=True)
class Pool:
    """One file of records.

    Args:
        number: 0 what the host tells, 1 what the guest tells, 3 what the host tells by itself; 2 and 4 lie idle.
        mode: its permissions.
        records: how many there are.
        values: what they say, by key.
    """

    number: int
    mode: int
    records: int
    values: Mapping[str, str]


def parse_modes(data: bytes) -> dict[int, int]:
    """``stat --format '%a %n'`` of the pools: permissions by number."""
    modes = {}
    for line in data.decode("ascii").splitlines():
        found = re.fullmatch(r"([0-7]+) .*/\.kvp_pool_(\d+)", line)
        if not found:
            raise ValueError(f"{line!r} is no mode of a pool")
        modes[int(found[2])] = int(found[1], 8)
    return modes


def parse_names(files: Mapping[str, bytes]) -> dict[int, str]:
    """``/proc/<pid>/comm``, proc(5): the names of all processes, by number."""
    return {
        int(path.split("/")[2]): content.decode("utf-8", "backslashreplace").strip() for path, content in files.items()
    }


def parse_holders(data: bytes) -> tuple[int, ...]:
    """Paths of descriptors, a line each: the processes that have them, one number a descriptor."""
    return tuple(int(line.split("/")[2]) for line in data.decode("ascii").splitlines())


NAMES = Probe.files("names of processes", parse_names, "/proc/[0-9]*/comm")
# Processes end while one looks.
HOLDERS = Probe(
    f"who has {DEVICE} open",
    ("sh", "-c", 'find /proc/[0-9]*/fd -lname "$1" 2>/dev/null; true', "-", DEVICE),
    parse_holders,
)


class Kvp:
    """Pools and daemon. Every call reads afresh.

    Args:
        guest: whose.
        folder: where the daemon keeps its pools.
    """

    def __init__(self, guest: Guest, folder: str = "/var/lib/hyperv") -> None:
        self._guest, self._folder = guest, folder

    def pools(self) -> dict[int, Pool]:
        """The pools that are there, by number: ``/var/lib/hyperv/.kvp_pool_*``.

        Raises:
            ProbeFailed: one of them does not hold whole records.
        """
        line = 'for pool in "$1"/.kvp_pool_*; do [ ! -e "$pool" ] || stat --format "%a %n" -- "$pool"; done'
        modes = self._guest.read(Probe("modes of pools", ("sh", "-c", line, "-", self._folder), parse_modes))
        contents = [
            Probe.file(f"{self._folder}/.kvp_pool_{number}", lambda data: (len(data), parse_pool(data)))
            for number in modes
        ]
        read = self._guest.read_all(*contents) if contents else ()
        return {
            number: Pool(number, mode, size // (KEY_BYTES + VALUE_BYTES), values)
            for (number, mode), (size, values) in zip(modes.items(), read, strict=True)
        }

    def daemons(self, names: Sequence[str]) -> frozenset[int]:
        """The processes that are called so: ``/proc/<pid>/comm``."""
        return frozenset(pid for pid, name in self._guest.read(NAMES).items() if name in names)

    def holders(self) -> tuple[int, ...]:
        """The processes that speak with the host, one number a descriptor: ``/proc/<pid>/fd``."""
        return self._guest.read(HOLDERS)

    def ask_host(self, method: str, pairs: Mapping[str, str], deadline: Deadline) -> None:
        """Have the host change what it tells: all of these pairs, or none.

        Args:
            method: ``AddKvpItems``, ``ModifyKvpItems`` or ``RemoveKvpItems``, of Hyper-V's
                ``Msvm_VirtualSystemManagementService``.
            pairs: values by key; what is removed needs none.
            deadline: when to give up.

        Raises:
            Refused: the host does not do it.
        """
        able(self._guest.machine, Exchange).exchange(json.dumps({method: dict(pairs)}), deadline)
