"""YAML files into strict models, with errors that name file, line and column and suggest the nearest word."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from harness.core.errors import UsageError

_MAX_TEXT = 1 << 20
_MAX_NODES = 100_000


class StrictModel(BaseModel):
    """Base of everything read from a file: no unknown keys, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


M = TypeVar("M", bound=BaseModel)
Steps = Sequence[str | int]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a file: where (line and column from 1, dotted path) and what."""

    line: int
    column: int
    path: str
    text: str


def read_text(path: Path) -> str:
    """A configuration file's text.

    Raises:
        UsageError: it cannot be read, is no UTF-8 text, or too large to be one.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_TEXT + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(raw) > _MAX_TEXT:
        raise UsageError(f"{path}: is larger than {_MAX_TEXT >> 20} MiB; that is no configuration file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise UsageError(f"{path}:{line}:{column} is not UTF-8 text") from error


def read_yaml(path: Path) -> Any:
    """The round-trip tree of a YAML file (YAML 1.2: ``no`` is a word, ``0777`` a number as written).

    Raises:
        UsageError: the file cannot be read, or is no YAML; with line and column.
    """
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, name: str) -> Any:
    """As :func:`read_yaml`, for text; ``name`` stands for the file in messages."""
    try:
        return YAML(typ="rt").load(StringIO(text))
    except DuplicateKeyError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        # The library's own text quotes both values, and a value may be something that must not be shown.
        key = re.match(r'found duplicate (?:key|anchor) "?([^"]*)"?', error.problem or "")
        raise UsageError(f"{where} {key[1] if key else 'a key'}: stands here twice") from error
    except MarkedYAMLError as error:
        raise UsageError(_syntax(error, text, name)) from error
    except YAMLError as error:
        raise UsageError(f"{_bad_character(text, name)} is not YAML: it holds a control character") from error
    except (ValueError, RecursionError) as error:  # the library's own reading of odd scalars and endless nesting
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise UsageError(f"{name}:{_no_day(text)} is not YAML: {reason}") from error


def load(path: Path, model: type[M]) -> M:
    """Read ``path`` as ``model``.

    Raises:
        UsageError: one line per problem, each ``file:line:column dotted.path: what is wrong``.
    """
    return validate(read_yaml(path), model, str(path))


def load_again(path: Path, model: type[M]) -> M:
    """As :func:`load`, for a file that many ask for: while its text stays the same, so does the value.

    Whoever gets it must not change the lists and tables in it.
    """
    loaded = _loaded(read_text(path), model, str(path))
    assert isinstance(loaded, model)
    return loaded


@lru_cache(maxsize=16)
def _loaded(text: str, model: type[BaseModel], name: str) -> BaseModel:
    return validate(parse_yaml(text, name), model, name)


def validate(tree: Any, model: type[M], name: str) -> M:
    """Check a tree of :func:`read_yaml` against ``model``; ``name`` is the file in messages.

    Raises:
        UsageError: as :func:`load`.
    """
    value, found = check(tree, model)
    if value is None:
        raise complaint(name, found)
    return value


def check(tree: Any, model: type[M], at: Steps = ()) -> tuple[M | None, list[Problem]]:
    """Check the part of ``tree`` that stands at ``at``; the value, or None and everything that is wrong with it."""
    part = tree
    for step in at:
        part = _child(part, step)
    if part is None:
        return None, [problem(tree, at, "there is nothing here" if at else "the file is empty")]
    try:
        text = json.dumps(_plain(part, [_MAX_NODES]))
    except (RecursionError, _TooLarge):
        return None, [problem(tree, at, "aliases repeat themselves without end")]
    except _Tagged as error:
        return None, [problem(tree, at, f"the tag {error} means nothing here")]
    try:
        # JSON mode is as strict, yet reads the text forms that YAML has for enums, paths, durations and tuples.
        return model.model_validate_json(text), []
    except ValidationError as error:
        found = [_problem_of(details, tree, model, at) for details in error.errors(include_url=False)]
        return None, sorted(dict.fromkeys(found))


def complaint(name: str, problems: Iterable[Problem]) -> UsageError:
    """One line per problem in the file's order, ready to raise."""
    lines = [f"{name}:{p.line}:{p.column} {p.path}: {p.text}" for p in sorted(problems)]
    return UsageError("\n".join(lines))


def problem(tree: Any, path: Steps, text: str) -> Problem:
    """A problem with what stands at ``path``; for rules that no single field can check."""
    line, column = position(tree, path)
    return Problem(line, column, _dotted(path), text)


def position(tree: Any, path: Steps) -> tuple[int, int]:
    """Line and column (from 1) of the deepest part of ``path`` that stands in the file.

    Scalars and lists are shown at their value, mappings at their key.
    """
    line, column = 0, 0
    for step in path:
        below = _child(tree, step)
        if below is _ABSENT:
            continue  # a union's or validator's own label, or a missing key: not in the file
        line, column = _place(tree, step, below) or (line, column)
        tree = below
    return line + 1, column + 1


class _TooLarge(Exception):
    pass


class _Tagged(Exception):
    pass


class _Absent:
    pass


_ABSENT = _Absent()


def _child(tree: Any, step: str | int) -> Any:
    if isinstance(tree, dict):
        if step in tree:
            return tree[step]
        return next((value for key, value in tree.items() if _key(key) == step), _ABSENT)
    if isinstance(tree, list) and isinstance(step, int) and step < len(tree):
        return tree[step]
    return _ABSENT


def _place(tree: Any, step: str | int, below: Any) -> tuple[int, int] | None:
    if isinstance(tree, CommentedMap):
        key = step if step in tree else next(key for key in tree if _key(key) == step)
        spots = (tree.lc.data or {}).get(key)  # absent for keys that came in through a merge (<<)
        if not spots:
            return None
        return (spots[0], spots[1]) if below is None or isinstance(below, dict) else (spots[2], spots[3])
    if isinstance(tree, CommentedSeq) and isinstance(step, int):
        line, column = tree.lc.item(step)
        return line, column
    return None


def _key_place(tree: Any, path: Steps) -> tuple[int, int] | None:
    for step in path[:-1]:
        below = _child(tree, step)
        tree = tree if below is _ABSENT else below
    if isinstance(tree, CommentedMap):
        spots = next((tree.lc.data[key] for key in tree if _key(key) == path[-1] and key in (tree.lc.data or {})), None)
        if spots:
            return spots[0] + 1, spots[1] + 1
    return None


def _key(key: Any) -> str:
    return str(_plain(key, [1])) if not isinstance(key, bool) else str(key).lower()


def _plain(tree: Any, budget: list[int]) -> Any:
    """Round-trip nodes as plain containers and scalars: strict models refuse subclasses such as ScalarInt."""
    budget[0] -= 1
    if budget[0] < 0:
        raise _TooLarge
    if isinstance(tree, TaggedScalar):
        raise _Tagged(str(tree.tag.value))
    if isinstance(tree, dict):
        return {_key(key): _plain(value, budget) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(item, budget) for item in tree]
    for kind in (bool, int, float, str):
        if isinstance(tree, kind):
            return kind(tree)
    return None if tree is None else str(tree)


def _syntax(error: MarkedYAMLError, text: str, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    what = (error.problem or error.context or "not valid YAML").strip().splitlines()[0]
    if mark is None:
        return f"{name}: {what}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: mark.column + 1]:
        return f"{name}:{mark.line + 1}:{line.index(chr(9)) + 1} a tab cannot indent YAML; use spaces"
    return f"{name}:{mark.line + 1}:{mark.column + 1} {what}"


def _bad_character(text: str, name: str) -> str:
    found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    before = text[: found.start()] if found else ""
    return f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _no_day(text: str) -> str:
    """Line and column of the first word that looks like a date and is none, for which the library has no place."""
    for found in re.finditer(r"\b\d{4}-\d\d?-\d\d?\b", text):
        year, month, day = map(int, found[0].split("-"))
        try:
            date(year, month, day)
        except ValueError:
            before = text[: found.start()]
            return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    return "1:1"


def _problem_of(details: ErrorDetails, tree: Any, model: type[BaseModel], at: Steps) -> Problem:
    path, below = list(at), tree
    for step in at:
        below = _child(below, step)
    for step in details["loc"]:
        found = _child(below, step)
        if found is not _ABSENT:
            path.append(step)
            below = found
        elif details["type"] == "missing" and step == details["loc"][-1]:
            path.append(step)
    line, column = position(tree, path)
    if details["type"] == "extra_forbidden" or details["loc"][-1:] == ("[key]",):
        line, column = _key_place(tree, path) or (line, column)
    return Problem(line, column, _dotted(path), _what(details, model, path[len(at) :]))


def _dotted(path: Steps) -> str:
    return ".".join(str(step) for step in path) or "(top level)"


_KINDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
}


_PLAIN = {"missing": "this key is required", "secret": "", "value_error": ""}  # our own validators say what they saw


def _what(details: ErrorDetails, model: type[BaseModel], path: Steps) -> str:
    kind, given = details["type"], details["input"]
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if kind == "extra_forbidden":
        return f"unknown key{nearest(str(path[-1]), _fields_at(model, path[:-1]))}"
    if kind in _PLAIN:
        return _PLAIN[kind] or message
    if kind in ("enum", "literal_error") and isinstance(given, str):
        words = re.findall(r"'([^']*)'", str(details.get("ctx", {}).get("expected", "")))
        return f"{given!r} is not one of {', '.join(words)}{nearest(given, words, list_known=False)}"
    if given is None:
        return "has no value"
    shown = re.sub(r"(?<=://)[^\s/@]+@", "***@", repr(given))  # who was refused may have written a password
    return f"{_KINDS.get(kind, message)} (got {shown if len(shown) <= 60 else shown[:57] + '...'})"


def nearest(word: str, known: Iterable[str], *, list_known: bool = True) -> str:
    """``; did you mean 'uri'?`` or, with nothing near, the known words; empty when there are none."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(words)}" if words and list_known else ""


def _fields_at(model: type[BaseModel], path: Steps) -> list[str]:
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
