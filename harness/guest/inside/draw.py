"""Paint the screen in equal cells, row by row, each in a colour: COLUMNS RRGGBB...

The frame buffer's geometry is what the kernel tells by ioctl (linux/fb.h): FBIOGET_VSCREENINFO, FBIOGET_FSCREENINFO.
Without arguments it only tells the size of the picture.
"""

import fcntl
import json
import struct
import sys
from pathlib import Path

VARIABLE, FIXED = 0x4600, 0x4602
DEVICE = Path("/dev/fb0")


def main() -> None:
    """Paint, and print width and height in pixels."""
    with DEVICE.open("r+b", buffering=0) as screen:
        variable = fcntl.ioctl(screen, VARIABLE, bytes(160))
        width, height, _, _, x_offset, y_offset, bits = struct.unpack_from("=7I", variable)
        fields = [struct.unpack_from("=2I", variable, 32 + 12 * channel) for channel in range(3)]
        # struct fb_fix_screeninfo: 16 bytes of name, a long, then five words; line_length follows three shorts.
        (line_length,) = struct.unpack_from("=I", fcntl.ioctl(screen, FIXED, bytes(80)), 48)
        if len(sys.argv) > 2:
            columns, colours = int(sys.argv[1]), sys.argv[2:]
            rows = len(colours) // columns
            size = bits // 8
            for row in range(rows):
                line = b""
                for column in range(columns):
                    span = width * (column + 1) // columns - width * column // columns
                    line += pixel(colours[row * columns + column], fields, size) * span
                for y in range(height * row // rows, height * (row + 1) // rows):
                    screen.seek((y + y_offset) * line_length + x_offset * size)
                    screen.write(line)
    print(json.dumps({"width": width, "height": height}))


def pixel(colour: str, fields: "list[tuple[int, int]]", size: int) -> bytes:
    """RRGGBB in the frame buffer's own format: each channel has an offset and a length in bits."""
    value = 0
    for channel, (offset, length) in enumerate(fields):
        value |= int(colour[2 * channel : 2 * channel + 2], 16) >> (8 - length) << offset
    return value.to_bytes(size, "little")


if __name__ == "__main__":
    main()
