"""Secrets never reach a report: values that were registered are masked in whatever is written."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from harness.report.visible import bounded, visible

MASK = "********"

# Shorter ones occur inside ordinary words, so they are masked only where they stand alone.
_ANYWHERE = 4

# Lines of a key are secrets of their own; its short lines are not.
_LINE = 16


class Redactor:
    """Masks registered secrets, also where a protocol or a log has encoded them.

    Args:
        secrets: values to start with.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._patterns: set[str] = set()
        self._text: re.Pattern[str] | None = None
        self._bytes: re.Pattern[bytes] | None = None
        for secret in secrets:
            self.register(secret)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._patterns)} spellings>"

    def register(self, secret: str) -> None:
        """Mask ``secret`` from now on: as it is, each line of it, and base64, URL, JSON, XML and ``repr`` spellings."""
        for value in {
            secret,
            secret.strip(),
            *(line.strip() for line in secret.splitlines() if len(line.strip()) > 16),
        }:
            if value:
                self._patterns |= _spellings(value)
        longest_first = sorted(self._patterns, key=len, reverse=True)
        if longest_first:
            joined = "|".join(longest_first)
            self._text = re.compile(joined)
            self._bytes = re.compile(joined.encode())

    def text(self, text: str) -> str:
        """``text`` with every secret masked."""
        return self._text.sub(MASK, text) if self._text else text

    def data(self, data: bytes) -> bytes:
        """``data`` with every secret masked."""
        return self._bytes.sub(MASK.encode(), data) if self._bytes else data

    def safe(self, text: str) -> str:
        """``text`` masked, bounded, and without what a terminal or a page obeys: half a secret would not be known."""
        return visible(bounded(self.text(text)))


def _spellings(secret: str) -> set[str]:
    if len(secret) < _ANYWHERE:
        return {rf"(?<!\w){re.escape(secret)}(?!\w)"}
    raw = secret.encode()
    encoded = base64.b64encode(raw).decode()
    forms = {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        escape(secret, {'"': "&quot;", "'": "&apos;"}),
        escape(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        encoded,
        base64.urlsafe_b64encode(raw).decode(),
        # PowerShell's -EncodedCommand speaks UTF-16.
        base64.b64encode(secret.encode("utf-16-le")).decode(),
    }
    return {re.escape(form) for form in forms}
