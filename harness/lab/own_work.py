"""How busy this machine's processors are, and how much of that is by a run: its processes, with twins and guests.

For hosts whose guests run here. Everything comes from ``/proc`` (proc(5)).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.backends.views import ProcessorTimes

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # idle and iowait, among the fields of the first line
_FIELDS = 8  # guests' time, which follows, is in that of users already


@dataclass(frozen=True, slots=True)
class _Process:
    """What is read of one; times in ticks, those of children that it waited for included."""

    parent: int
    born: int
    spent: int


@dataclass(slots=True)
class OwnWork:
    """Reads this machine's counters.

    A tree of processes never loses what it did: whoever ends leaves its time to the parent that waits for it. QEMU
    leaves the tree, for libvirt forks twice, and so does the switch between guests: their command lines tell.

    Args:
        roots: processes whose descendants are ours, themselves included.
        marks: texts of command lines that only ours have: folders of ours.
        proc: where the kernel tells.
    """

    roots: frozenset[int]
    marks: tuple[str, ...] = ()
    proc: Path = Path("/proc")
    _marked: dict[tuple[int, int], bool] = field(default_factory=dict)

    def read(self) -> ProcessorTimes:
        """One reading."""
        lines = (self.proc / "stat").read_text().splitlines()
        at = time.monotonic()
        words = lines[0].split()[1 : 1 + _FIELDS]
        # What a hypervisor below this machine gave to others (steal) is not idle either: we did not get it.
        busy = sum(int(word) for place, word in enumerate(words) if place not in _IDLE) / _TICKS
        processors = sum(line.startswith("cpu") for line in lines) - 1
        return ProcessorTimes(at, processors, busy, self._ours())

    def _ours(self) -> dict[str, float]:
        found = self._processes()
        tree = _below(self.roots, found)
        apart = {
            f"{pid} {process.born}": process.spent / _TICKS
            for pid, process in found.items()
            if pid not in tree and self._is_marked(pid, process.born)
        }
        self._marked = {key: value for key, value in self._marked.items() if key[0] in found}
        return {"tree": sum(found[pid].spent for pid in tree) / _TICKS} | apart

    def _processes(self) -> dict[int, _Process]:
        found = {}
        for folder in self.proc.iterdir():
            if folder.name.isdigit():
                try:
                    text = (folder / "stat").read_text()
                except OSError:  # it ended meanwhile
                    continue
                words = text.rpartition(")")[2].split()
                found[int(folder.name)] = _Process(int(words[1]), int(words[19]), sum(map(int, words[11:15])))
        return found

    def _is_marked(self, pid: int, born: int) -> bool:
        known = self._marked.get((pid, born))
        if known is None:
            try:
                line = (self.proc / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                return False
            known = self._marked[pid, born] = any(mark in line for mark in self.marks)
        return known


def _below(roots: Iterable[int], found: dict[int, _Process]) -> set[int]:
    """The roots that are there, and all their descendants."""
    children: dict[int, list[int]] = {}
    for pid, process in found.items():
        children.setdefault(process.parent, []).append(pid)
    tree: set[int] = set()
    waiting = [pid for pid in roots if pid in found]
    while waiting:
        pid = waiting.pop()
        if pid not in tree:
            tree.add(pid)
            waiting += children.get(pid, ())
    return tree
