"""The guest's own screen: the frame buffer that a monitor, or the host's screenshot, would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Mode:
    """What is shown, in pixels."""

    width: int
    height: int


def parse_mode(data: bytes) -> Mode:
    """What the program ``draw`` printed."""
    fields = read_json(data)
    return Mode(int(fields["width"]), int(fields["height"]))


class Screen:
    """The first frame buffer of a guest: ``/dev/fb0``."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def mode(self) -> Mode:
        """Its size now: ioctl ``FBIOGET_VSCREENINFO``."""
        return self._draw([])

    def paint(self, columns: int, colours: Sequence[tuple[int, int, int]]) -> Mode:
        """Fill it with cells of equal size, row by row; colours are red, green and blue from 0 to 255."""
        return self._draw([str(columns), *(bytes(colour).hex() for colour in colours)])

    def _draw(self, words: list[str]) -> Mode:
        argv = ["python3", "-", *words]
        result = self._guest.run(argv, stdin=program("draw"))
        return Probe("screen", tuple(argv), parse_mode).value(result, self._guest.name)
