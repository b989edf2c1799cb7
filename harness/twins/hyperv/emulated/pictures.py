"""A screen as Windows gives it: raw RGB565, made of the PNG that QEMU gives."""

from __future__ import annotations

import zlib


def dimensions(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG: of its first chunk, which is IHDR (RFC 2083, 4.1.1)."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def rgb565(png: bytes, width: int, height: int) -> bytes:
    """A PNG (8 bits, RGB, not interlaced: QEMU's) as raw RGB565, little endian, of another size."""
    at, data, shape = 8, b"", (0, 0)
    channels = 3
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        kind, chunk = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            shape = int.from_bytes(chunk[:4], "big"), int.from_bytes(chunk[4:8], "big")
            channels = {2: 3, 6: 4}[chunk[9]]
        elif kind == b"IDAT":
            data += chunk
        at += size + 12
    rows = _rows(zlib.decompress(data), shape[0] * channels, channels)
    picture = bytearray()
    for y in range(height):
        row = rows[y * shape[1] // height]
        for x in range(width):
            place = (x * shape[0] // width) * channels
            red, green, blue = row[place : place + 3]
            picture += ((red >> 3) << 11 | (green >> 2) << 5 | blue >> 3).to_bytes(2, "little")
    return bytes(picture)


def _rows(raw: bytes, stride: int, channels: int) -> list[bytes]:
    """Undo PNG's filters (RFC 2083, 6)."""
    rows: list[bytes] = []
    above = bytes(stride)
    for start in range(0, len(raw), stride + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for at in range(stride) if kind else ():
            left = row[at - channels] if at >= channels else 0
            corner = above[at - channels] if at >= channels else 0
            row[at] = (row[at] + _predicted(kind, left, above[at], corner)) & 0xFF
        above = bytes(row)
        rows.append(above)
    return rows


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 2:
        return up
    if kind == 3:
        return (left + up) // 2
    estimate = left + up - corner
    return min((left, up, corner), key=lambda each: abs(estimate - each))
