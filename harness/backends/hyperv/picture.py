"""Pictures: RGB565 into PNG by the standard library (PNG specification, 3rd edition, sections 5 and 11)."""

from __future__ import annotations

import struct
import zlib
from array import array

from harness.core import LabError


def png(data: bytes, width: int, height: int) -> bytes:
    """A PNG of raw RGB565 pixels, little endian, as Hyper-V's thumbnails are.

    Raises:
        LabError: there are fewer pixels than that.
    """
    if width < 1 or height < 1 or len(data) < width * height * 2:
        raise LabError(f"{len(data)} bytes are no picture of {width}x{height}", operation="screenshot")
    pixels = array("H", data[: width * height * 2])
    table = _colours()
    rows = bytearray()
    for row in range(height):
        rows.append(0)  # filter 0: none
        rows += b"".join([table[pixel] for pixel in pixels[row * width : (row + 1) * width]])
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bit, RGB, not interlaced
    head = _chunk(b"IHDR", size)
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _colours() -> list[bytes]:
    """Five and six bits stretched to eight, so that white stays white."""
    five = [value * 255 // 31 for value in range(32)]
    six = [value * 255 // 63 for value in range(64)]
    return [bytes((five[value >> 11], six[value >> 5 & 63], five[value & 31])) for value in range(1 << 16)]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
