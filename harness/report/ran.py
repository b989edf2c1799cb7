"""What ran on which guest, in order: a line of JSON a test, written as tests end, so that one can be run again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness.core import UsageError

FILE = "ran.jsonl"
"""Its name, in a run's folder."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One test of a run.

    Args:
        test: pytest's name of it, its file relative to ``root``.
        check: the check's number; empty for a test without one.
        pool: what it ran for.
        host: which member.
        status: what it came to.
        options: pytest's options that choose the same again: lab, host, image by its content, release, firmware.
        guests: what it had, each named by when it came up or was reverted: tests that name the same one shared it.
        where: the folder that pytest was called in, which the options' paths are relative to.
        root: pytest's root folder.
        settings: pytest's configuration file; empty: there was none.
        seed: of whatever was drawn at random; empty: none was set.
        harness: the version that ran it.
    """

    test: str
    check: str
    pool: str
    host: str
    status: str
    options: tuple[str, ...]
    guests: tuple[str, ...] = ()
    where: str = ""
    root: str = ""
    settings: str = ""
    seed: str = ""
    harness: str = ""


def note(folder: Path, ran: Ran) -> None:
    """Add a test to a run's file.

    Args:
        folder: the run's.
        ran: the test.
    """
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(ran), ensure_ascii=False) + "\n")


def read(folder: Path) -> list[Ran]:
    """The tests of a run, in the order in which they ended.

    Args:
        folder: the run's.

    Raises:
        UsageError: the run has no such file.
    """
    path = folder / FILE
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        hint = "name the folder of a run that reached a host, or its id; runs of older versions cannot be repeated so"
        raise UsageError(f"{path}: {error.strerror}", hint=hint) from error
    return list(_tests(lines))


def chosen(tests: Sequence[Ran], words: str) -> list[Ran]:
    """The tests that ``CHECK[@HOST]`` means, each once.

    Args:
        tests: of the run.
        words: a check's number, or a test's name; behind ``@`` a host, or a pool. ``C04@esxi8``.

    Raises:
        UsageError: there are none.
    """
    name, _, where = words.partition("@")
    last = {
        (one.test, one.host): one
        for one in tests
        if name in (one.check, one.test, one.test.rpartition("::")[2], one.test.rpartition("::")[2].partition("[")[0])
        and where in ("", one.host, one.pool)
    }
    if last:
        return list(last.values())
    known = sorted({f"{one.check or one.test}@{one.host}" for one in tests})
    shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    raise UsageError(f"no {words} ran on a host in this run", hint=f"there are: {shown or 'none'}")


def before(tests: Sequence[Ran], one: Ran) -> list[Ran]:
    """The tests that ran before this one on the guests that it had, in order.

    Args:
        tests: of the run, in order.
        one: the test.
    """
    earlier = tests[: max((at for at, each in enumerate(tests) if each == one), default=0)]
    shared = {each.test: each for each in earlier if set(each.guests) & set(one.guests) and each.test != one.test}
    return list(shared.values())


def _tests(lines: list[str]) -> Iterator[Ran]:
    known = {field.name for field in fields(Ran)}
    for line in lines:
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:  # a run that was killed leaves half a line
            continue
        values: dict[str, Any] = {name: value for name, value in said.items() if name in known}
        values |= {name: tuple(values.get(name, ())) for name in ("options", "guests")}
        yield Ran(**values)
