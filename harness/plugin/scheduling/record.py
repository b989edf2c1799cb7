"""A night as a file: its groups, and what their tests took; of a real run, to be played through again later."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from harness.plugin.scheduling.night import Group, Member, Task
from harness.report.results import write_whole

FILE = "spread.json"
"""Its name, in the folder of a run."""


def write(path: Path, groups: Iterable[Group], about: str) -> None:
    """Write a night.

    Args:
        path: the file.
        groups: with the seconds that their tests took.
        about: what ran where.
    """
    night = {
        "about": about,
        "groups": [
            {
                "group": group.name,
                "members": [{"host": member.host, "domain": member.domain} for member in group.members],
                "tests": [{"test": task.name, "seconds": task.seconds, "quiet": task.quiet} for task in group.tasks],
            }
            for group in groups
        ],
    }
    write_whole(path, json.dumps(night, indent=1, ensure_ascii=False).encode())


def read(path: Path) -> list[Group]:
    """The groups of such a file."""
    return [
        Group(
            group["group"],
            tuple(Member(member["host"], member["domain"]) for member in group["members"]),
            tuple(Task(test["test"], test["seconds"], test["quiet"]) for test in group["tests"]),
        )
        for group in json.loads(path.read_bytes())["groups"]
    ]
