"""Field types for everything read from files: sizes with units, durations, each with its JSON Schema."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from harness.core.values import Size

_ISO = re.compile(r"P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?")
_WORDS = re.compile(
    r"(?:(?P<d>\d+)\s*d)?\s*(?:(?P<h>\d+)\s*h)?\s*(?:(?P<m>\d+)\s*m(?:in)?)?\s*(?:(?P<s>\d+(?:\.\d+)?)\s*s)?"
)


def duration(text: str) -> timedelta:
    """Read ``24h``, ``90s``, ``1h30m``, ``7d``, or ISO 8601 (``PT24H``).

    Raises:
        ValueError: not a duration; the message says what one looks like.
    """
    word = text.strip()
    found = _ISO.fullmatch(word) if word.startswith("P") else _WORDS.fullmatch(word)
    parts = {key: value for key, value in found.groupdict().items() if value} if found else {}
    if not parts:
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 30m, 24h, 7d or PT24H")
    try:
        return timedelta(
            days=int(parts.get("d", 0)),
            hours=int(parts.get("h", 0)),
            minutes=int(parts.get("m", 0)),
            seconds=float(parts.get("s", 0)),
        )
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than a duration can be") from error


def show_duration(span: timedelta) -> str:
    """As :func:`duration` reads it: ``1d2h``, ``90s`` as ``1m30s``."""
    seconds = span.total_seconds()
    text = ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            text += f"{int(seconds // length)}{unit}"
            seconds %= length
    return text + (f"{seconds:g}s" if seconds or not text else "")


def _size(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("a size is text or a whole number of bytes; write for example 1 GiB, 512 MiB or 4096")  # noqa: TRY004
    if isinstance(value, int) and value < 0:
        raise ValueError("a size is not negative")
    return Size.parse(value)


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("a duration has a unit; write for example 90s, 30m, 24h, 7d or PT24H")  # noqa: TRY004
    return duration(value)


Bytes = Annotated[
    Size,
    PlainValidator(_size),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]([iI]?[bB])?|[bB])?\s*$"},
            ],
            "title": "size",
            "examples": ["8 GiB", "512 MiB"],
        }
    ),
]
"""An amount of memory or disk: ``8 GiB``, ``512M``, or a number of bytes."""

Duration = Annotated[
    timedelta,
    PlainValidator(_duration),
    PlainSerializer(show_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*(P[0-9DTHMS.]+|([0-9]+(\.[0-9]+)?\s*(d|h|m|min|s)\s*)+)$",
            "title": "duration",
            "examples": ["24h", "30m", "90s"],
        }
    ),
]
"""A span of time: ``24h``, ``90s``, ``1h30m``, ``7d`` or ISO 8601."""
