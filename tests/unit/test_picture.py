"""A screenshot is looked at pixel by pixel; all filters of PNG lead to the same picture."""

import random
import struct
import zlib

import pytest

from harness.core import LabError
from harness.measure.picture import read_png

WIDTH, HEIGHT = 12, 8


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    rows: list[bytes], *, colour: int = 2, samples: int = 3, kind: int = 0, palette: bytes = b"", depth: int = 8
) -> bytes:
    filtered, above = b"", bytes(len(rows[0]))
    for row in rows:
        filtered += bytes([kind]) + encoded(kind, row, above, samples)
        above = row
    header = struct.pack(">IIBBBBB", len(rows[0]) // samples, len(rows), depth, colour, 0, 0, 0)
    extra = chunk(b"PLTE", palette) if palette else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(filtered))
        + chunk(b"IEND", b"")
    )


def encoded(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    """The five filters as the specification's encoder has them, written apart from the decoder."""
    out = bytearray()
    for at, x in enumerate(row):
        a, b, c = (row[at - step] if at >= step else 0), above[at], (above[at - step] if at >= step else 0)
        p = a + b - c
        nearest = a if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c) else b if abs(p - b) <= abs(p - c) else c
        out.append((x - {0: 0, 1: a, 2: b, 3: (a + b) // 2, 4: nearest}[kind]) % 256)
    return bytes(out)


def noise(samples: int) -> list[bytes]:
    random.seed(7)
    return [random.randbytes(WIDTH * samples) for _ in range(HEIGHT)]


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (6, 4)])
def test_every_filter_gives_the_same_pixels(kind: int, colour: int, samples: int) -> None:
    rows = noise(samples)
    picture = read_png(png(rows, colour=colour, samples=samples, kind=kind))
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)
    assert all(
        picture.pixel(x, y) == tuple(rows[y][x * samples : x * samples + 3])
        for x in range(WIDTH)
        for y in range(HEIGHT)
    )


def test_grey_and_palette_are_colours_too() -> None:
    assert read_png(png([b"\x10\x20"], colour=0, samples=1)).pixel(1, 0) == (32, 32, 32)
    assert read_png(png([b"\x01\x00"], colour=3, samples=1, palette=b"\1\2\3\4\5\6")).pixel(0, 0) == (4, 5, 6)


def test_cells_are_looked_at_in_their_middle() -> None:
    rows = [b"\xff\0\0" * 6 + b"\0\xff\0" * 6] * 4 + [b"\0\0\xff" * 6 + b"\xff\xff\xff" * 6] * 4
    assert read_png(png(rows)).cells(2, 2) == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def test_a_blank_screen_is_told_from_a_picture() -> None:
    assert read_png(png([b"\1\2\3" * WIDTH] * HEIGHT)).uniform
    assert not read_png(png([b"\1\2\3" * WIDTH] * (HEIGHT - 1) + [b"\1\2\3" * (WIDTH - 1) + b"\1\2\4"])).uniform


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P6 12 8 255\n", "no PNG"),
        (png(noise(3))[:-30], "damaged PNG"),
        (png(noise(3)).replace(b"IDAT", b"IDAX"), "damaged PNG: checksum"),
        (png(noise(3), depth=16), "damaged PNG: 16 bits"),
        (png(noise(3), kind=0).replace(b"IEND", b"IENE"), "damaged PNG: checksum"),
    ],
)
def test_what_cannot_be_looked_at_is_the_labs_fault(data: bytes, message: str) -> None:
    with pytest.raises(LabError, match=message):
        read_png(data)
