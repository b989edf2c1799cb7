"""Pictures: PPM into PNG by the standard library (PNG specification, 3rd edition, sections 5 and 11)."""

from __future__ import annotations

import re
import struct
import zlib

from harness.core import LabError

_PNG = b"\x89PNG\r\n\x1a\n"
_PPM = re.compile(rb"P6\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+255\s")


def png(data: bytes) -> bytes:
    """A PNG as it is, a binary 8-bit PPM as PNG.

    Raises:
        LabError: it is neither.
    """
    if data.startswith(_PNG):
        return data
    header = _PPM.match(data)
    if not header:
        raise LabError(f"the screenshot is neither PNG nor PPM; it begins with {data[:16]!r}", operation="screenshot")
    width, height = int(header[1]), int(header[2])
    pixels = data[header.end() :]
    stride = width * 3
    if len(pixels) < stride * height:
        raise LabError("the screenshot is cut off", operation="screenshot")
    rows = b"".join(b"\0" + pixels[row * stride : (row + 1) * stride] for row in range(height))  # filter 0: none
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bit, RGB, not interlaced
    return _PNG + _chunk(b"IHDR", size) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
