"""Programs that run inside a guest: text that its ``python3`` reads from stdin, so nothing is installed there.

They need no more than the standard library of Python 3.6, and no compiler: what must be close to the C library is
called through ``ctypes``. Each prints JSON, one object a line.
"""

from __future__ import annotations

from importlib.resources import files


def program(name: str) -> bytes:
    """The text of the program called ``name``."""
    return files(__name__).joinpath(f"{name}.py").read_bytes()
