"""A machine's spec as JSON in its metadata, so that any later process can open the machine and know what was asked."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.core import Size

T = TypeVar("T")


def dumps(value: Any) -> str:
    """A tree of frozen dataclasses as compact JSON."""
    return json.dumps(_plain(value), separators=(",", ":"), sort_keys=True)


def loads(kind: type[T], text: str) -> T:
    """The inverse of :func:`dumps`, by the type hints of ``kind``.

    Raises:
        ValueError: the text does not hold such a value.
    """
    try:
        value: T = _typed(kind, json.loads(text))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error
    return value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, (Enum, Path)) else value


def _typed(kind: Any, value: Any) -> Any:  # noqa: PLR0911 - one line a kind of value
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _typed(next(arg for arg in arguments if arg is not types.NoneType), value)
    if origin in (tuple, frozenset):
        return origin(_typed(arguments[0], item) for item in value)
    if origin is dict:
        return dict(value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{key: _typed(hints[key], item) for key, item in value.items() if key in hints})
    if kind is datetime:
        return datetime.fromisoformat(value)
    if isinstance(kind, type) and issubclass(kind, (Enum, Size, Path)):
        return kind(value)
    return value
