"""YAML files into strict models, with errors that name file, line and column and suggest the nearest word."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from harness.core.errors import UsageError


class StrictModel(BaseModel):
    """Base of everything read from a file: no unknown keys, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


M = TypeVar("M", bound=BaseModel)


def read_yaml(path: Path) -> Any:
    """The round-trip tree of a YAML file (YAML 1.2: ``no`` is a word, ``0777`` a number as written).

    Raises:
        UsageError: the file cannot be read, or is no YAML; with line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """As :func:`read_yaml`, for text; ``name`` stands for the file in messages."""
    try:
        return YAML(typ="rt").load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = (error.problem or error.context or "not valid YAML").strip()
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        if "\t" in line[: (mark.column + 1) if mark else 0]:
            problem = "a tab cannot indent YAML; use spaces"
        raise UsageError(f"{where} {problem}") from error


def load(path: Path, model: type[M]) -> M:
    """Read ``path`` as ``model``.

    Raises:
        UsageError: one line per problem, each ``file:line:column dotted.path: what is wrong``.
    """
    return validate(read_yaml(path), model, str(path))


def validate(tree: Any, model: type[M], name: str) -> M:
    """Check a tree of :func:`read_yaml` against ``model``; ``name`` is the file in messages.

    Raises:
        UsageError: as :func:`load`.
    """
    if tree is None:
        raise UsageError(f"{name}:1:1 the file is empty")
    try:
        # JSON mode is as strict, yet reads the text forms that YAML has for enums, paths, durations and tuples.
        return model.model_validate_json(json.dumps(_plain(tree)))
    except ValidationError as error:
        lines = [_line(details, tree, model, name) for details in error.errors(include_url=False)]
        raise UsageError("\n".join(lines)) from error


def position(tree: Any, path: Sequence[str | int]) -> tuple[int, int]:
    """Line and column (from 1) of the deepest part of ``path`` that stands in the file."""
    line, column = 0, 0
    for step in path:
        if isinstance(tree, CommentedMap) and step in tree:
            line, column = tree.lc.value(step) if not isinstance(tree[step], CommentedMap) else tree.lc.key(step)
        elif isinstance(tree, CommentedSeq) and isinstance(step, int) and step < len(tree):
            line, column = tree.lc.item(step)
        else:
            continue  # a union's or validator's own label, or a missing key: not in the file
        tree = tree[step]
    return line + 1, column + 1


def _plain(tree: Any) -> Any:
    """Round-trip nodes as plain containers and scalars: strict models refuse subclasses such as ScalarInt."""
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(item) for item in tree]
    for kind in (bool, int, float, str):
        if isinstance(tree, kind):
            return kind(tree)
    return None if tree is None else str(tree)


def _line(details: ErrorDetails, tree: Any, model: type[BaseModel], name: str) -> str:
    path = [step for step in details["loc"] if not (isinstance(step, str) and step.startswith("function-"))]
    line, column = position(tree, path)
    if details["type"] == "extra_forbidden":
        line, column = _key_position(tree, path) or (line, column)
    dotted = ".".join(str(step) for step in path) or "(top level)"
    return f"{name}:{line}:{column} {dotted}: {_problem(details, model)}"


def _key_position(tree: Any, path: Sequence[str | int]) -> tuple[int, int] | None:
    for step in path[:-1]:
        if isinstance(tree, (CommentedMap, CommentedSeq)):
            try:
                tree = tree[step]
            except (KeyError, IndexError, TypeError):
                continue
    if isinstance(tree, CommentedMap) and path[-1] in tree:
        line, column = tree.lc.key(path[-1])
        return line + 1, column + 1
    return None


def _problem(details: ErrorDetails, model: type[BaseModel]) -> str:
    if details["type"] == "extra_forbidden":
        word = str(details["loc"][-1])
        known = _fields_at(model, details["loc"][:-1])
        return f"unknown key{nearest(word, known)}"
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing":
        return "this key is required"
    if details["type"] in ("enum", "literal_error") and isinstance(details["input"], str):
        words = [
            word.strip("' ") for word in str(details.get("ctx", {}).get("expected", "")).replace(" or ", ",").split(",")
        ]
        return f"{details['input']!r} is not one of {', '.join(words)}{nearest(details['input'], words)}"
    shown = repr(details["input"])
    return f"{message} (got {shown if len(shown) <= 60 else shown[:57] + '...'})"


def nearest(word: str, known: Sequence[str]) -> str:
    """``; did you mean 'uri'?`` or, with nothing near, the known words; empty when there are none."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The field names of the model that stands at ``path``, looking through containers, unions and tags."""
    candidates: list[type[BaseModel]] = [model]
    for step in path:
        following: list[type[BaseModel]] = []
        for candidate in candidates:
            for key, info in candidate.model_fields.items():
                if step in (key, info.alias):
                    following += _models_in(info.annotation)
        candidates = following or candidates  # a dict key or list index: same candidates
    return sorted({info.alias or key for candidate in candidates for key, info in candidate.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]
