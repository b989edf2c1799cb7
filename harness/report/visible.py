"""Text that a terminal or a page shows, and does not obey: a guest, or a host, may have written it."""

from __future__ import annotations

import re
from html import escape

# What serial consoles are full of and nobody reads: colours and cursor moves (ECMA-48 control sequences).
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

# C0 but tab and newline, DEL, C1, marks that make text read differently from what it is (Unicode TR 36), other ends of
# lines, and half surrogates: bytes that are no UTF-8 may have been read as such (PEP 383), and no file takes them.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_MARKED = re.compile(r"([\\`*_\[\]|~#])")

LINE = 2000
"""Characters of a line that says why; the whole of it is in the evidence."""
MESSAGE = 1 << 20
"""Characters of a message, a traceback, what a test printed."""


def visible(text: str) -> str:
    r"""Text without colours and cursor moves; control characters and direction marks become ``\x..`` escapes."""
    return _CONTROL.sub(_escaped, _ANSI.sub("", text))


def bounded(text: str, most: int = MESSAGE) -> str:
    """The text, or its first quarter and its end where it is longer than that."""
    if len(text) <= most:
        return text
    first, last = most // 4, most - most // 4
    return f"{text[:first]}\n[... {len(text) - most} characters left out here ...]\n{text[-last:]}"


def line(text: str, most: int = LINE) -> str:
    """The first line of a text, as :func:`visible`, with blanks for runs of white space, and not longer than that."""
    words = " ".join(visible(text.strip().partition("\n")[0][: 4 * most]).split())
    return words if len(words) <= most else f"{words[: most - 4]} ..."


def marked(text: str) -> str:
    """Text for Markdown, in which it means nothing but itself; nor in the HTML that is made of that."""
    return escape(_MARKED.sub(r"\\\1", text), quote=False)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
