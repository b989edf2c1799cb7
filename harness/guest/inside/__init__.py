"""Programs that run inside a guest: text that its ``python3`` reads from stdin, so nothing is installed there.

They need no more than the standard library of Python 3.6, and no compiler: what must be close to the C library is
called through ``ctypes``. Each prints JSON, one object a line.
"""

from __future__ import annotations

import re
from importlib.resources import files

_PART = re.compile(rf"^from {re.escape(__name__)}\.(\w+) import .*$".encode(), re.MULTILINE)


def program(name: str) -> bytes:
    """The text of the program called ``name``; what it imports from its neighbours here stands in it."""
    return _PART.sub(lambda found: program(found[1].decode()), files(__name__).joinpath(f"{name}.py").read_bytes())
