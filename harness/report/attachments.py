"""Evidence made safe to look at: the guest is not trusted, so its output is bounded, decoded and escaped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import allure_commons
from allure_commons.types import AttachmentType

from harness.core import MiB, Size
from harness.report.visible import visible

LIMIT = MiB

_PNG = b"\x89PNG\r\n\x1a\n"


def text(data: bytes | str, limit: Size = LIMIT) -> str:
    r"""Any bytes as text that any viewer can show.

    Bytes that are not UTF-8, control characters and bidirectional overrides become ``\x..`` escapes; terminal colours
    are dropped. Of too long a text the first quarter and the end stay, cut at lines, with a note of what is missing.
    """
    raw = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    shown = bound(raw, limit).decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\n\r", "\n")
    return visible(shown)


def bound(data: bytes, limit: Size = LIMIT) -> bytes:
    """``data``, or its first quarter and its end where it is longer than ``limit``."""
    if len(data) <= limit:
        return data
    return _joined(data[: limit // 4], data[-(limit - limit // 4) :], len(data))


def bound_file(path: Path, limit: Size = LIMIT) -> bytes:
    """As :func:`bound`, for a file that may be larger than memory."""
    size = path.stat().st_size
    if size <= limit:
        return path.read_bytes()
    with path.open("rb") as file:
        head = file.read(limit // 4)
        file.seek(size - (limit - limit // 4))
        return _joined(head, file.read(limit), size)


def attach_text(name: str, data: bytes | str) -> None:
    """Add a log to the running test's result."""
    _attach(text(data).encode(), name, AttachmentType.TEXT)


def attach_xml(name: str, data: bytes | str) -> None:
    """Add a host's description of a machine."""
    _attach(text(data).encode(), name, AttachmentType.XML)


def attach_json(name: str, value: Any) -> None:
    """Add structured data, indented for reading."""
    _attach(text(json.dumps(value, indent=2, ensure_ascii=False)).encode(), name, AttachmentType.JSON)


def attach_png(name: str, data: bytes) -> None:
    """Add a screenshot; what is no PNG is said to be none instead of being shown as a broken picture."""
    if data.startswith(_PNG):
        _attach(data, name, AttachmentType.PNG)
    else:
        attach_text(name, f"not a PNG: {len(data)} bytes that begin with {data[:16]!r}")


def _attach(body: bytes, name: str, kind: AttachmentType) -> None:
    allure_commons.plugin_manager.hook.attach_data(body=body, name=name, attachment_type=kind, extension=None)


def _joined(head: bytes, tail: bytes, size: int) -> bytes:
    head = head[: head.rfind(b"\n") + 1] or head
    tail = tail[tail.find(b"\n") + 1 :] or tail
    missing = Size(size - len(head) - len(tail))
    note = f"\n[... {missing} of {Size(size)} left out here ...]\n\n"
    return head + note.encode() + tail
