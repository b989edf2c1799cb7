"""Writing limits into a lab's file of its own limits and sizes: what somebody wrote there by hand stays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from harness.core.config import read_yaml
from harness.lab.calibration import OwnLimit

_HEAD = """\
Limits and sizes of this lab's own; docs/limits.md says how they are read.
`interop calibrate` wrote those that name their samples, and may write them anew; all else is left as it is.
"""


def keep(path: Path, limits: Mapping[tuple[str, str], OwnLimit]) -> list[tuple[str, str]]:
    """Write limits into ``path``, in one step; the file and its folder are made where they are missing.

    Args:
        path: the lab's file.
        limits: by pool or host, and key.

    Returns:
        Those that were not written, because somebody decided them: they stand there without samples.

    Raises:
        UsageError: the file cannot be read as YAML.
    """
    tree = read_yaml(path) if path.exists() else None
    if tree is None:
        tree = CommentedMap()
        tree.yaml_set_start_comment(_HEAD)
    decided = []
    for (where, key), limit in sorted(limits.items()):
        there = _below(_below(_below(tree, "hosts"), where), "limits")
        if key in there and "samples" not in there[key]:
            decided.append((where, key))
            continue
        there[key] = CommentedMap(_plain(limit))
    writer = YAML()
    writer.width = 1000
    text = StringIO()
    writer.dump(tree, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text.getvalue(), encoding="utf-8")
    new.replace(path)
    return decided


def _below(tree: Any, key: str) -> Any:
    if tree.get(key) is None:
        tree[key] = CommentedMap()
    return tree[key]


def _plain(limit: OwnLimit) -> dict[str, Any]:
    told = limit.model_dump(exclude_none=True)
    # Whole numbers read better without a point, and the file says that they are numbers either way.
    whole = {key: int(value) for key, value in told.items() if isinstance(value, float) and value.is_integer()}
    return told | whole
