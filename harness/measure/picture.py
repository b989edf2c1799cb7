"""Looking at a screenshot: just enough PNG to compare pixels, without a library for pictures."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from harness.core import LabError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour types of PNG (ISO/IEC 15948, 11.2.2) at 8 bits: samples a pixel.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    Args:
        width: in pixels.
        height: in pixels.
        rows: the samples of each row, ``samples`` bytes a pixel.
        samples: 1 grey or palette index, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        palette: RGB triples, where samples are indices.
    """

    width: int
    height: int
    rows: tuple[bytes, ...]
    samples: int
    palette: bytes = b""

    def pixel(self, x: int, y: int) -> Colour:
        """Red, green and blue of one pixel, from 0 to 255; transparency is left out."""
        sample = self.rows[y][x * self.samples : (x + 1) * self.samples]
        if self.palette:
            sample = self.palette[3 * sample[0] : 3 * sample[0] + 3]
        red, green, blue = sample[:3] if len(sample) >= 3 else (sample[0],) * 3
        return red, green, blue

    def cells(self, columns: int, rows: int) -> list[Colour]:
        """The colour in the middle of each of ``columns`` x ``rows`` equal cells, row by row."""
        return [
            self.pixel((2 * column + 1) * self.width // (2 * columns), (2 * row + 1) * self.height // (2 * rows))
            for row in range(rows)
            for column in range(columns)
        ]

    @property
    def uniform(self) -> bool:
        """Whether every pixel has the same colour."""
        first = self.rows[0][: self.samples] * self.width
        return all(row == first for row in self.rows)


def read_png(data: bytes) -> Picture:
    """Decode a PNG of 8 bits a sample, not interlaced.

    Raises:
        LabError: it is none, it is damaged, or it is of another kind.
    """
    if not data.startswith(_SIGNATURE):
        raise LabError(f"the screenshot is no PNG: it begins with {data[:8]!r}")
    try:
        return _decode(data)
    except (struct.error, zlib.error, KeyError, IndexError, ValueError) as error:
        raise LabError(f"the screenshot is a damaged PNG: {error}") from error


def _decode(data: bytes) -> Picture:
    chunks: dict[bytes, bytes] = {}
    offset = len(_SIGNATURE)
    while offset < len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        (check,) = struct.unpack_from(">I", data, offset + 8 + length)
        if check != zlib.crc32(kind + body):
            raise ValueError(f"checksum of chunk {kind.decode('latin-1')}")
        chunks[kind] = chunks.get(kind, b"") + body
        offset += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth != 8 or interlaced:
        raise ValueError(f"{depth} bits a sample{', interlaced' if interlaced else ''} is not understood")
    samples = _SAMPLES[colour]
    raw = zlib.decompress(chunks[b"IDAT"])
    stride = width * samples
    if len(raw) != height * (stride + 1):
        raise ValueError(f"{len(raw)} bytes of pixels instead of {height * (stride + 1)}")
    rows: list[bytes] = []
    above = bytes(stride)
    for y in range(height):
        start = y * (stride + 1)
        above = _unfiltered(raw[start], raw[start + 1 : start + 1 + stride], above, samples)
        rows.append(above)
    return Picture(width, height, tuple(rows), samples, chunks[b"PLTE"] if colour == 3 else b"")


def _unfiltered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    """Undo a row's filter (ISO/IEC 15948, 9.2)."""
    if kind == 0:
        return line
    if kind == 2:
        return bytes((x + b) & 255 for x, b in zip(line, above, strict=True))
    row = bytearray(line)
    for at in range(len(row)):
        a = row[at - step] if at >= step else 0
        c = above[at - step] if at >= step else 0
        row[at] = (row[at] + _prediction(kind, a, above[at], c)) & 255
    return bytes(row)


def _prediction(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 3:
        return (left + up) // 2
    if kind == 4:
        distances = [(abs(up - corner), left), (abs(left - corner), up), (abs(left + up - 2 * corner), corner)]
        return min(distances, key=lambda pair: pair[0])[1]
    raise ValueError(f"filter {kind}")
