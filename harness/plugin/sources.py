"""Which source a check was when it ran: a digest of the test, and of what it uses from the suites' own files.

What goes in: the test's function or class with its decorators; of its module, and of modules of suites that it imports
from, the functions, classes, constants and fixtures that it names, and those that they name; ``pytestmark``. What does
not: comments, docstrings, empty lines, and where all of it stands. The harness's own code is known by its version, what
hosts must show by the image, lab and expectations.
"""

from __future__ import annotations

import ast
import hashlib
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from harness.report.identity import SOURCE_SCHEME

_OURS = ("harness", "interop_fixtures")
_DIGITS = 16
_ALWAYS = "pytestmark"


def digest_of(item: pytest.Item) -> str:
    """The digest of a test's source, with the scheme it was made by: ``1:9f86d081884c7d65``; empty without a source."""
    function = getattr(item, "function", None)
    module = getattr(item, "module", None)
    if function is None or module is None:
        return ""
    owner = getattr(item, "cls", None)
    name = owner.__qualname__.partition(".")[0] if owner else getattr(item, "originalname", item.name)
    return _digest(module.__name__, name, frozenset(_fixtures(item)), item.config.rootpath)


def _fixtures(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Module and name of the fixtures that the test gets, whoever asks for them: by argument, mark or autouse."""
    info = item._fixtureinfo  # type: ignore[attr-defined]  # noqa: SLF001  pytest has no public way to ask
    for definitions in info.name2fixturedefs.values():
        for definition in definitions:
            yield definition.func.__module__, definition.func.__name__


@cache
def _digest(module: str, name: str, fixtures: frozenset[tuple[str, str]], root: Path) -> str:
    found: dict[tuple[str, str], str] = {}
    for where, what in ((module, name), (module, _ALWAYS), *sorted(fixtures)):
        _collect(where, what, root, found)
    whole = "\0".join(sorted(found.values()))
    return f"{SOURCE_SCHEME}:{hashlib.sha256(whole.encode()).hexdigest()[:_DIGITS]}" if found else ""


def _collect(module: str, name: str, root: Path, found: dict[tuple[str, str], str]) -> None:
    """Add what a name of a module stands for, and what that names in turn."""
    if (module, name) in found:
        return
    read = _of_suites(module, root)
    if read is None:
        return
    if name == "*":
        for every in read.pieces:
            _collect(module, every, root, found)
        return
    for piece in read.pieces.get(name, ()):
        found[module, name] = found.get((module, name), "") + piece.text
        for used in sorted(piece.names):
            _collect(module, used, root, found)
        for where, what in sorted(piece.imports):
            _collect(where, what, root, found)
    for where, what in read.imports.get(name, ()):
        _collect(where, what, root, found)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A statement at the top of a module: its text, the names in it, and what it imports by itself."""

    text: str
    names: frozenset[str]
    imports: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Source:
    """A module of suites: by name what it defines and what it imports."""

    pieces: dict[str, list[_Piece]] = field(default_factory=dict)
    imports: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def _of_suites(module: str, root: Path) -> _Source | None:
    """A loaded module's source; None for the harness's own, and for what is installed."""
    loaded = sys.modules.get(module)
    file = Path(getattr(loaded, "__file__", None) or "")
    inside = file.suffix == ".py" and file.is_relative_to(root) and "site-packages" not in file.parts
    if loaded is None or not inside or module.partition(".")[0] in _OURS:
        return None
    return _read(loaded, file)


@cache
def _read(module: ModuleType, file: Path) -> _Source:
    text = file.read_text(encoding="utf-8")
    lines = _bare(text)
    source = _Source()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for local, target in _imported(node, module):
                source.imports.setdefault(local, []).append(target)
            continue
        for name in _defines(node):
            source.pieces.setdefault(name, []).append(_piece(node, lines, module))
    return source


def _defines(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module gives a meaning to; an ``if`` or ``try`` has several."""
    named = [node.name] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else []
    if named:
        return named
    return sorted(
        {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        | {one.name for one in ast.walk(node) if isinstance(one, (ast.FunctionDef, ast.ClassDef))}
    )


def _piece(node: ast.stmt, lines: list[str], module: ModuleType) -> _Piece:
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    left_out = {number for one in ast.walk(node) for number in _docstring(one)}
    text = [lines[number - 1] for number in range(first, (node.end_lineno or first) + 1) if number not in left_out]
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    names |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}  # fixtures are asked for by argument
    inner = [one for one in ast.walk(node) if isinstance(one, (ast.Import, ast.ImportFrom))]
    imports = {target for one in inner for _, target in _imported(one, module)}
    return _Piece("".join(f"{line}\n" for line in text if line), frozenset(names), frozenset(imports))


def _docstring(node: ast.AST) -> range:
    """The lines of a function's or class's docstring."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or ast.get_docstring(node) is None:
        return range(0)
    said = node.body[0]
    # One in the same line as code before it is rare enough to count.
    return range(said.lineno, (said.end_lineno or said.lineno) + 1) if said.lineno > node.lineno else range(0)


def _imported(node: ast.Import | ast.ImportFrom, module: ModuleType) -> Iterator[tuple[str, tuple[str, str]]]:
    """Local name, and module and name of what is behind it; of a whole module everything is taken."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.asname or alias.name.partition(".")[0], (alias.name, "*")
            continue
        package = (module.__package__ or "").split(".")
        parts = package[: len(package) + 1 - node.level] if node.level else []
        where = ".".join(filter(None, [*parts, node.module or ""]))
        local = alias.asname or alias.name
        if f"{where}.{alias.name}" in sys.modules:
            yield local, (f"{where}.{alias.name}", "*")
        else:
            yield local, (where, alias.name)


def _bare(text: str) -> list[str]:
    """Lines without comments and blanks at their ends; a ``#`` within a string is none.

    By tokens, since what Python makes of a tree differs from version to version, and controllers have several.
    """
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return [line.rstrip() for line in lines]
