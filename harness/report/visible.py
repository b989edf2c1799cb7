"""Text that a terminal or a page shows, and does not obey: a guest, or a host, may have written it."""

from __future__ import annotations

import re

# What serial consoles are full of and nobody reads: colours and cursor moves (ECMA-48 control sequences).
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

# C0 but tab and newline, DEL, C1, and the marks that make text read differently from what it is (Unicode TR 36).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    r"""Text without colours and cursor moves; control characters and direction marks become ``\x..`` escapes."""
    return _CONTROL.sub(_escaped, _ANSI.sub("", text))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
