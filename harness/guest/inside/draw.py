"""Paint the screen in equal cells, row by row, each in a colour: COLUMNS RRGGBB...

The frame buffer's geometry is what the kernel tells by ioctl (linux/fb.h): FBIOGET_VSCREENINFO, FBIOGET_FSCREENINFO.
Without arguments it only tells the size of the picture.
"""

import fcntl
import json
import mmap
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
        # struct fb_fix_screeninfo begins with 16 bytes of name and a long; line_length follows three shorts.
        fixed = fcntl.ioctl(screen, FIXED, bytes(80))
        (size,), (line_length,) = struct.unpack_from("=I", fixed, 24), struct.unpack_from("=I", fixed, 48)
        if len(sys.argv) > 2:
            columns, colours, depth = int(sys.argv[1]), sys.argv[2:], bits // 8
            rows = len(colours) // columns
            # Not write(2): Linux 6.1 keeps what comes that way in its shadow copy, and no screen ever shows it.
            with mmap.mmap(screen.fileno(), size) as memory:
                for y in range(height):
                    line = b""
                    for column in range(columns):
                        span = width * (column + 1) // columns - width * column // columns
                        line += pixel(colours[y * rows // height * columns + column], fields, depth) * span
                    start = (y + y_offset) * line_length + x_offset * depth
                    memory[start : start + len(line)] = line
    print(json.dumps({"width": width, "height": height}))


def pixel(colour: str, fields: "list[tuple[int, int]]", size: int) -> bytes:
    """RRGGBB in the frame buffer's own format: each channel has an offset and a length in bits."""
    value = 0
    for channel, (offset, length) in enumerate(fields):
        value |= int(colour[2 * channel : 2 * channel + 2], 16) >> (8 - length) << offset
    return value.to_bytes(size, "little")


if __name__ == "__main__":
    main()
