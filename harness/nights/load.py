"""From a night file to a :class:`~harness.nights.models.Night`: fields first, then what no single field can check."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from harness.core import UsageError
from harness.core.config import Problem, Steps, check, complaint, nearest, parse_yaml, problem, read_text
from harness.core.named import Shelf
from harness.lab.load import load_lab
from harness.lab.models import Lab, slug
from harness.lab.releases import Release
from harness.nights.cells import product
from harness.nights.models import CARRIED, Cell, Match, Night, NightFile

_NIGHTS = Shelf("nights", "night")


def load_night(name_or_path: str | Path) -> Night:
    """Read a night: a path, or a name that ``./configs/nights`` or the product's own ``configs/nights`` holds.

    Raises:
        UsageError: no such night, or one line ``file:line:column dotted.path: problem`` for everything wrong in it.
    """
    path = _NIGHTS.find(name_or_path)
    return read_night(read_text(path), path)


def read_night(text: str, path: Path) -> Night:
    """Check a night file's text; ``path`` is where it stands.

    Raises:
        UsageError: as :func:`load_night`.
    """
    tree = parse_yaml(text, str(path))
    file, problems = check(tree, NightFile)
    if file is None:
        raise complaint(str(path), problems)
    beside = path.parent / file.lab
    try:
        lab = load_lab(beside if file.lab.endswith((".yaml", ".yml")) else file.lab)
    except UsageError as error:
        raise complaint(str(path), [problem(tree, ("lab",), error.message)]) from error
    problems += _schedule(tree, file)
    problems += _names(tree, file, lab)
    night = Night(slug(path.stem), path.resolve(), lab, file)
    problems += _rules(tree, night) if not problems else []
    if problems:
        raise complaint(str(path), problems)
    return night


def night_schema() -> dict[str, Any]:
    """The JSON Schema of night files."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **NightFile.model_json_schema(),
        "title": "interop night file",
    }


def _schedule(tree: Any, file: NightFile) -> list[Problem]:
    if file.schedule is None:
        return []
    try:
        from croniter import croniter  # noqa: PLC0415 - procrastinate's own reading of cron lines
    except ImportError:
        return []  # whoever starts or works on it needs the engine, and is told then
    if croniter.is_valid(file.schedule):
        return []
    return [problem(tree, ("schedule",), f"{file.schedule!r} is no cron line, for example `0 20 * * 1-5`")]


def _names(tree: Any, file: NightFile, lab: Lab) -> list[Problem]:
    problems = []
    pools = lab.pools()
    for number, pool in enumerate(file.pools):
        if pool not in pools:
            text = f"the lab {lab.name} has no pool {pool!r}{nearest(pool, pools)}"
            problems.append(problem(tree, ("pools", number), text))
    for number, more in enumerate(file.include):
        known = {*pools, *lab.hosts}
        if more.host not in known:
            text = f"the lab {lab.name} has no host or pool {more.host!r}{nearest(more.host, known)}"
            problems.append(problem(tree, ("include", number, "host"), text))
    named: list[tuple[Steps, str]] = [(("releases", number), release) for number, release in enumerate(file.releases)]
    named += [(("include", number, "release"), more.release) for number, more in enumerate(file.include)]
    for place, release in named:
        try:
            if release != CARRIED:
                Release.asked(release)
        except UsageError as error:
            problems.append(problem(tree, place, error.message))
    for key in ("images", "releases", "firmware", "pools"):
        words = getattr(file, key)
        twice = [number for number in range(len(words)) if words[number] in words[:number]]
        problems += [problem(tree, (key, number), f"{str(words[number])!r} stands here twice") for number in twice]
    return problems


def _rules(tree: Any, night: Night) -> list[Problem]:
    """A rule that is about nothing is a mistake: most likely a name that changed."""
    problems = []
    cells = list(product(night))
    named: dict[str, Cell] = {}
    for cell in cells:
        other = named.setdefault(cell.name, cell)
        if other != cell:
            text = f"the results of {other.image}, {other.release} and {cell.image}, {cell.release} would lie together"
            return [problem(tree, ("images",), f"{text}: name them differently")]
    every = [("exclude", rule) for rule in night.file.exclude]
    for key, rules in itertools.groupby([*every, *(("priorities", rule) for rule in night.file.priorities)], _key):
        for number, (_, rule) in enumerate(rules):
            if not any(rule.fits(cell) for cell in cells):
                said = json.dumps({name: word for name, word in rule.model_dump().items() if word != "*"})
                problems.append(problem(tree, (key, number), f"no cell of this night fits {said}"))
    return problems


def _key(pair: tuple[str, Match]) -> str:
    return pair[0]
