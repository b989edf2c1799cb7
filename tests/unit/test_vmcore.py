"""The head of a crashed kernel's memory, and what RAM there was, read as the kernel writes them."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from harness.guest.inside import program
from harness.guest.vmcore import LOW, Range, Vmcore, parse_memory, parse_vmcore

MIB = 1 << 20
ABOUT = b"OSRELEASE=6.1.0-18-amd64\nCRASHTIME=1763860000\nno line of ours\n"


def note(name: bytes, kind: int, content: bytes) -> bytes:
    words = name + b"\0"
    padded = (part.ljust(-(-len(part) // 4) * 4, b"\0") for part in (words, content))
    return struct.pack("<III", len(words), len(content), kind) + b"".join(padded)


def status(pid: int) -> bytes:
    """``struct elf_prstatus`` of x86-64."""
    return bytes(32) + struct.pack("<i", pid) + bytes(300)


def core(*ranges: Range, pids: tuple[int, ...] = (0, 4711), kind: int = 4) -> bytes:
    notes = b"".join(note(b"CORE", 1, status(pid)) for pid in pids) + note(b"VMCOREINFO", 0, ABOUT)
    start = 64 + 56 * (len(ranges) + 1)
    segments = [struct.pack("<IIQQQQQQ", 4, 0, start, 0, 0, len(notes), len(notes), 0)]
    offset = 4096
    for first, beyond in ranges:
        segments.append(struct.pack("<IIQQQQQQ", 1, 7, offset, 0, first, beyond - first, beyond - first, 0))
        offset += beyond - first
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    return header + b"".join(segments) + notes


IOMEM = b"""\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-07ffffff : System RAM
  02000000-02ffffff : Kernel code
  04000000-05ffffff : Crash kernel
08000000-0fffffff : PCI Bus 0000:00
"""


def test_a_core_tells_memory_processes_and_kernel() -> None:
    seen = parse_vmcore(core((MIB, 64 * MIB), (96 * MIB, 128 * MIB)))
    assert seen.ranges == ((MIB, 64 * MIB), (96 * MIB, 128 * MIB))
    assert seen.pids == (0, 4711)
    assert seen.about == {"OSRELEASE": "6.1.0-18-amd64", "CRASHTIME": "1763860000"}
    assert seen.length == 4096 + 95 * MIB


def test_memory_is_ram_without_what_the_crash_kernel_has() -> None:
    assert parse_memory(IOMEM) == ((0x1000, 0x9FC00), (MIB, 64 * MIB), (96 * MIB, 128 * MIB))


def test_nothing_is_missing_from_a_whole_dump_but_the_first_mib() -> None:
    assert parse_vmcore(core((MIB, 64 * MIB), (96 * MIB, 128 * MIB))).missing(parse_memory(IOMEM)) == []


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        ([(MIB, 64 * MIB)], [(96 * MIB, 128 * MIB)]),
        ([(2 * MIB, 64 * MIB), (96 * MIB, 128 * MIB)], [(LOW, 2 * MIB)]),
        ([(96 * MIB, 100 * MIB), (MIB, 64 * MIB), (110 * MIB, 128 * MIB)], [(100 * MIB, 110 * MIB)]),
    ],
    ids=["a range", "a beginning", "a middle"],
)
def test_what_a_dump_lacks_is_named(held: list[Range], missing: list[Range]) -> None:
    assert Vmcore(0, tuple(held), (), {}).missing(parse_memory(IOMEM)) == missing


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "cut short"),
        (b"\x7fELF\x01" + bytes(100), "not a core file"),
        (core((MIB, 2 * MIB), kind=2), "not a core file"),
        (core((MIB, 2 * MIB))[:100], "cut short"),
        (core((MIB, 2 * MIB))[:400], "beyond what was read"),
    ],
)
def test_what_is_no_core_is_refused(head: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_vmcore(head)


def test_addresses_that_are_hidden_are_refused() -> None:
    with pytest.raises(ValueError, match="no RAM"):
        parse_memory(b"00000000-00000000 : System RAM\n00000000-00000000 : System RAM\n")


def test_memory_is_kept_byte_by_byte_and_what_is_empty_takes_no_room(tmp_path: Path) -> None:
    source, target = tmp_path / "memory", tmp_path / "kept"
    with source.open("wb") as file:
        file.write(b"begin")
        file.truncate(20 * MIB)
        file.seek(0, os.SEEK_END)
        file.write(b"end" + bytes(1000))
    argv = [sys.executable, "-", source, target]
    said = subprocess.run(argv, input=program("keep_memory"), capture_output=True, check=True).stdout
    assert said == f"kept {20 * MIB + 1003} bytes\n".encode()
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 <= 2 * MIB + 8192
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "memory"]
