"""What a crashed kernel left of its memory: a core file as ``/proc/vmcore`` shows it (kernel, admin-guide/kdump)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Range = tuple[int, int]
"""First byte and the one behind the last, by physical address."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr, elf(5)
_SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_NOTE = struct.Struct("<III")  # Elf64_Nhdr
_CORE, _LOAD, _NOTES = 4, 1, 4
_PRSTATUS = 1
_PID = 32  # of pr_pid in struct elf_prstatus on x86-64 (kernel, include/linux/elfcore.h)
LOW = 1 << 20
"""The first MiB is never part of it: the crash kernel itself needs some of that (arch/x86/kernel/crash.c)."""


@dataclass(frozen=True, slots=True)
class Vmcore:
    """The head of such a file.

    Args:
        length: of the whole file, as its segments say.
        ranges: the memory that it holds.
        pids: by CPU, the process that it ran when the kernel crashed.
        about: what the kernel says of itself (VMCOREINFO): ``OSRELEASE``, ``CRASHTIME`` ...
    """

    length: int
    ranges: tuple[Range, ...]
    pids: tuple[int, ...]
    about: dict[str, str]

    def missing(self, memory: Sequence[Range]) -> list[Range]:
        """The parts of ``memory``, above the first MiB, that it does not hold."""
        left = [(max(first, LOW), beyond) for first, beyond in memory if beyond > LOW]
        for held in self.ranges:
            left = [part for whole in left for part in _without(whole, held)]
        return left


def parse_vmcore(head: bytes) -> Vmcore:
    """Read the beginning of a core file: its headers and notes.

    Raises:
        ValueError: it is no core file of a 64-bit machine, or its notes lie beyond what was read.
    """
    try:
        fields = _HEADER.unpack_from(head)
        if fields[0][:6] != b"\x7fELF\x02\x01" or fields[1] != _CORE:
            raise ValueError("not a core file of a 64-bit machine")
        segments = [_SEGMENT.unpack_from(head, fields[5] + at * fields[9]) for at in range(fields[10])]
    except struct.error as error:
        raise ValueError(f"the headers are cut short: {error}") from error
    # Fields of a segment: type, flags, offset, virtual address, physical address, length in the file.
    ranges = tuple((each[4], each[4] + each[5]) for each in segments if each[0] == _LOAD)
    length = max((each[2] + each[5] for each in segments), default=0)
    pids: list[int] = []
    about: dict[str, str] = {}
    for segment in segments:
        if segment[0] == _NOTES:
            if segment[2] + segment[5] > len(head):
                raise ValueError("the notes lie beyond what was read")
            for name, kind, content in _notes(head[segment[2] : segment[2] + segment[5]]):
                if name == b"CORE" and kind == _PRSTATUS:
                    pids.append(int.from_bytes(content[_PID : _PID + 4], "little"))
                elif name == b"VMCOREINFO":
                    lines = content.rstrip(b"\0").decode("ascii", "replace").splitlines()
                    about |= dict(line.split("=", 1) for line in lines if "=" in line)
    return Vmcore(length, ranges, tuple(pids), about)


def _notes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + _NOTE.size <= len(data):
        name, content, kind = _NOTE.unpack_from(data, at)
        if not name:
            return
        at += _NOTE.size
        words = data[at : at + name].rstrip(b"\0")
        at += -(-name // 4) * 4
        yield words, kind, data[at : at + content]
        at += -(-content // 4) * 4


def parse_memory(data: bytes) -> tuple[Range, ...]:
    """``/proc/iomem``: RAM that the kernel has, without what it keeps for its crash kernel.

    Raises:
        ValueError: no RAM is shown; addresses are, to root alone.
    """
    lines = re.findall(r"^ *([0-9a-f]+)-([0-9a-f]+) : (.*)$", data.decode("ascii", "replace"), re.MULTILINE)
    named = [(name, (int(first, 16), int(last, 16) + 1)) for first, last, name in lines]
    ram = [where for name, where in named if name == "System RAM"]
    for hole in (where for name, where in named if name == "Crash kernel"):
        ram = [part for whole in ram for part in _without(whole, hole)]
    if sum(beyond - first for first, beyond in ram) <= len(ram):
        raise ValueError("no RAM is shown")
    return tuple(ram)


def _without(whole: Range, hole: Range) -> list[Range]:
    first, beyond = max(whole[0], hole[0]), min(whole[1], hole[1])
    if first >= beyond:
        return [whole]
    return [part for part in ((whole[0], first), (beyond, whole[1])) if part[0] < part[1]]
