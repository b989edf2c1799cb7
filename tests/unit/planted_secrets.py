"""Secrets that nobody else would write, and a search for them that knows nothing of how the harness masks.

Everything is looked at as raw bytes and unpacked; runs of base64, of hexadecimal digits, and escapes of URLs, pages and
programs are read back first, so that no list of spellings has to be complete.
"""

from __future__ import annotations

import base64
import codecs
import gzip
import hashlib
import html
import io
import re
import tarfile
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import zstandard

_PLAIN = bytes.maketrans(b"-_", b"+/")
"""From the base64 of addresses to the usual one."""


def secret(name: str) -> str:
    """One of its own for each name: letters of every kind that an escape may be needed for, all of it telling."""
    word = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()
    return f"{word[:7]}&{word[7:13]}<\"{word[13:17]}'>\\{word[17:21]}é/{word[21:28]}+"


def leaks(data: bytes, secrets: dict[str, str], name: str = "") -> set[str]:
    """The names of those that ``data`` shows nine letters of in a row, however spelt and packed: what was cut tells its
    halves.

    Args:
        data: a file, or what a program said.
        secrets: by name.
        name: of the file.
    """
    found = set()
    for reading in _readings(data, name):
        for each, value in secrets.items():
            if each not in found and any(piece in reading for piece in _pieces(value)):
                found.add(each)
    return found


def search(place: Path, secrets: dict[str, str], but: dict[str, str] | None = None) -> dict[str, set[str]]:
    """Files below a folder that show a secret, by path; names of files and folders count as well.

    Args:
        place: the folder.
        secrets: by name.
        but: patterns of files that may, and why.
    """
    found = {}
    for path in sorted(place.rglob("*")):
        inside = path.relative_to(place)
        if any(inside.match(pattern) for pattern in but or {}):
            continue
        shown = leaks(path.name.encode(), secrets)
        if path.is_file() and not path.is_symlink():
            shown |= leaks(path.read_bytes(), secrets, path.name)
        if shown:
            found[str(inside)] = shown
    return found


def _pieces(value: str) -> list[bytes]:
    """The forms are read back, so plain text and what Windows calls text are all there is. Nine letters in a row hold
    six that begin at a multiple of four.
    """
    parts = [value[at : at + 6] for at in range(0, len(value) - 5, 4)]
    return [part.encode(coding) for part in parts for coding in ("utf-8", "utf-16-le")]


def _readings(data: bytes, name: str) -> Iterator[bytes]:
    for whole in (data, *_unpacked(data, name)):
        yield whole
        text = whole.decode("utf-8", "replace")
        readings = {text, re.sub(r"\s*\n\s*(?:E\s+)?", "", text)}  # a table folds what is long
        readings |= {read(one) for one in readings for read in (html.unescape, urllib.parse.unquote_plus)}
        for _ in range(3):
            readings |= {_unescaped(one) for one in readings if "\\" in one}
        yield from (one.encode() for one in readings)
        for skip in range(4):
            runs = (run[skip:] for run in re.findall(rb"[A-Za-z0-9+/_-]{10,}", whole.translate(_PLAIN)))
            yield b"\n".join(base64.b64decode(run[: len(run) // 4 * 4]) for run in runs)
        for skip in range(2):
            runs = (run[skip:] for run in re.findall(rb"[0-9A-Fa-f]{16,}", whole))
            yield b"\n".join(bytes.fromhex(run[: len(run) // 2 * 2].decode()) for run in runs)


def _unescaped(text: str) -> str:
    """As Python, JSON or JavaScript would read the inside of its quotes."""
    return re.sub(
        r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)",
        lambda found: codecs.decode(found[0], "unicode_escape") if found[1][0] in "ux" and found[1][1:] else found[1],
        text,
    )


def _unpacked(data: bytes, name: str) -> Iterator[bytes]:
    if data.startswith(b"\x1f\x8b"):
        yield from _within(gzip.decompress(data), name)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as whole:
            yield from _within(whole.read(), name)
    elif data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for each in packed.namelist():
                yield from _within(packed.read(each), each)
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as packed:
            for each in packed:
                if held := packed.extractfile(each):
                    yield from _within(held.read(), each.name)


def _within(data: bytes, name: str) -> Iterator[bytes]:
    yield data
    yield from _unpacked(data, name)
