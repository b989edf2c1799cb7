"""Units that a bare ``int`` cannot carry."""

from __future__ import annotations

import re
from typing import Self

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Size(int):
    """A number of bytes.

    ``k m g t`` alone are binary, as in ``qemu-img`` and libvirt; ``kB MB GB TB`` are decimal (IEC 80000-13).
    """

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Read ``2 GiB``, ``512M`` or a plain number of bytes.

        Raises:
            ValueError: not a size; the message says what one looks like.
        """
        if isinstance(text, int) and not isinstance(text, bool):
            return cls(text)
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(text))
        if not found or found[2].lower() not in _UNITS:
            raise ValueError(f"{text!r} is not a size; write for example 1 GiB, 512 MiB or 4096")
        return cls(round(float(found[1]) * _UNITS[found[2].lower()]))

    @property
    def mib(self) -> int:
        """Whole mebibytes, rounded down."""
        return int(self) >> 20

    @property
    def kib(self) -> int:
        """Whole kibibytes, rounded down."""
        return int(self) >> 10

    def __str__(self) -> str:
        for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if self >= factor:
                amount = int(self) / factor
                return f"{amount:.0f} {unit}" if amount == int(amount) else f"{amount:.1f} {unit}"
        return f"{int(self)} B"

    __repr__ = __str__


MiB = Size(1 << 20)
GiB = Size(1 << 30)
