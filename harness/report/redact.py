"""Secrets never reach a report: values that were registered are masked in whatever is written."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from harness.report.visible import bounded, visible

MASK = "********"

# Shorter ones occur inside ordinary words, so they are masked only where they stand alone.
_ANYWHERE = 4

# Shorter pieces of base64 occur in any other.
_ENCODED = 6

# Lines of a key are secrets of their own; its short lines are not.
_LINE = 16

# Where somebody shortened a text: pytest in the middle of a long value, we in the middle of a long log. What is left of
# a secret on either side is masked from this many letters on.
_CUT = re.compile(r"\n?\[?\.\.\.(?:[^\n]{0,60} \.\.\.\]\n+)?")
_PIECE = 4

# Pytest colours what it compares, a word at a time: the codes would stand in the middle of a secret.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# How often what was quoted is quoted again.
_DEEP = 3

# A password has no business in an address, whoever wrote it: RFC 3986 (3.2.1) deprecates it, since addresses are shown.
_IN_URL = re.compile(r"(?<=://)([^\s/:@\"'<>]*):[^\s/@\"'<>]+@")


class Redactor:
    """Masks registered secrets, also where a protocol or a log has encoded or cut them, and passwords in URLs.

    Args:
        secrets: values to start with.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._spellings: list[str] = []
        self._alone: re.Pattern[str] | None = None
        self._cut: dict[str, list[str]] = {}
        for secret in secrets:
            self.register(secret)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._known)} secrets>"

    def register(self, secret: str) -> None:
        """Mask ``secret`` from now on: as it is, each line of it, and the spellings of logs, protocols and pages."""
        if secret in self._known:
            return
        self._known.add(secret)
        values = {secret, secret.strip(), *(line.strip() for line in secret.splitlines() if len(line.strip()) > _LINE)}
        long = {value for value in values if len(value) >= _ANYWHERE}
        new = {form for value in long for form in _spellings(value)}.difference(self._spellings)
        # A secret inside a longer one must leave no rest of that.
        self._spellings = sorted([*self._spellings, *new], key=len, reverse=True)
        for form in new:
            for at in range(len(form) - _PIECE + 1):
                self._cut.setdefault(form[at : at + _PIECE], []).append(form)
        if short := [value for value in self._known if 0 < len(value.strip()) < _ANYWHERE]:
            joined = "|".join(re.escape(value.strip()) for value in short)
            self._alone = re.compile(rf"(?<!\w)(?:{joined})(?!\w)")

    def text(self, text: str) -> str:
        """``text`` with every secret masked; a line that has one between colours loses its colours."""
        if "\x1b[" in text:
            text = "".join(map(self._plain, text.splitlines(keepends=True)))
        return self._masked(text)

    def safe(self, text: str) -> str:
        """``text`` masked, bounded, and without what a terminal or a page obeys: half a secret would not be known."""
        return visible(bounded(self.text(text)))

    def _plain(self, line: str) -> str:
        plain = _COLOUR.sub("", line)
        masked = self._masked(plain)
        return line if masked == plain else masked

    def _masked(self, text: str) -> str:
        for form in self._spellings:  # nearly always none is there, and to look for a word is what Python does fastest
            if form in text:
                text = text.replace(form, MASK)
        if self._alone is not None:
            text = self._alone.sub(MASK, text)
        if self._cut and "..." in text:
            text = self._uncut(text)
        return _IN_URL.sub(rf"\1:{MASK}@", text) if "://" in text else text

    def data(self, data: bytes) -> bytes:
        """``data`` with every secret masked."""
        return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _uncut(self, text: str) -> str:
        """Mask what is left of secrets before and behind a place where a text was shortened."""
        parts, done = [], 0
        for mark in _CUT.finditer(text):
            before, after = text[done : mark.start()], text[mark.end() :]
            head = max(self._pieces(before[-_PIECE:], before.endswith, _beginnings), default=0)
            parts += [before[: len(before) - head], MASK if head else "", mark[0]]
            tail = max(self._pieces(after[:_PIECE], after.startswith, _ends), default=0)
            parts += [MASK if tail else ""]
            done = mark.end() + tail
        return "".join([*parts, text[done:]])

    def _pieces(self, piece: str, fits: Callable[[str], bool], parts: Callable[[str], Iterator[str]]) -> Iterator[int]:
        for form in self._cut.get(piece, ()):
            found = next((part for part in parts(form) if fits(part)), "")
            if found:
                yield len(found)


def _beginnings(form: str) -> Iterator[str]:
    return (form[:end] for end in range(len(form) - 1, _PIECE - 1, -1))


def _ends(form: str) -> Iterator[str]:
    return (form[begin:] for begin in range(1, len(form) - _PIECE + 1))


def _spellings(secret: str) -> set[str]:
    raw, wide = secret.encode("utf-8", "surrogatepass"), secret.encode("utf-16-le", "surrogatepass")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms = {
        *_escaped(secret),
        escape(secret, {'"': "&quot;", "'": "&apos;"}),
        escape(secret),
        html.escape(secret),
        html.escape(secret).replace("&#x27;", "&#39;"),
        *quoted,
        *(re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in quoted),
        wide.decode("utf-8", "surrogateescape"),
    }
    # PowerShell's -EncodedCommand speaks UTF-16.
    encoded = {form for data in (raw, wide) for form in (data.hex(), data.hex().upper(), *_base64(data))}
    return {form for form in forms if len(form) >= _ANYWHERE} | {form for form in encoded if len(form) >= _ENCODED}


def _escaped(secret: str) -> set[str]:
    """As programs write it between quotes, whichever these are, and that once more: a message that quotes a list stands
    in a line of JSON, and that in a local variable.
    """
    forms = {secret, repr(secret.encode("utf-8", "surrogatepass"))[2:-1]}
    for _ in range(_DEEP):
        for form in tuple(forms):
            plain = repr(form + "'\"")[1:-4].replace("\\'", "'")
            forms |= {plain, plain.replace("'", "\\'"), plain.replace('"', '\\"')}
            forms |= {json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1]}
    return forms


def _base64(data: bytes) -> set[str]:
    """What shows of ``data`` in base64, alone and inside of something longer: three letters are made of two bytes and a
    third, so there are three ways, and the letters at either end are its neighbours' as well.
    """
    forms = {base64.b64encode(data).decode().rstrip("=")}
    for before in range(3):
        whole = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        begin = (before * 8 + 5) // 6
        end = (before + len(data)) * 8 // 6
        forms.add(whole[begin:end])
    return forms | {form.replace("+", "-").replace("/", "_") for form in forms}
