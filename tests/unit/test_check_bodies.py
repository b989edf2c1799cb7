"""Parts of checks that no guest is needed for: what they make of a host that lies or leaves something behind."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core import Deadline


def expecting(**words: Any) -> Any:
    """Expectations whose every deadline is near."""
    return SimpleNamespace(deadline=lambda _: Deadline.after(0.2), **words)


class Keeps:
    """A machine whose host takes its time to merge delta disks, or for ever."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)

    def checkpoint_files(self, _: Deadline) -> tuple[str, ...]:
        """The next answer, and the last one for ever."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_a_delta_that_stays_is_found_and_one_that_is_merged_late_is_none() -> None:
    """A disk that was gone back to may be another file, but there may be no more of them."""
    none_left = importlib.import_module("suites.lifecycle.test_checkpoints").assert_none_left
    none_left(Keeps(("a-2.avhdx", "a-1.avhdx"), ("a-2.avhdx",)), ("a-1.avhdx",), expecting())
    with pytest.raises(AssertionError, match=r"as before: none; last seen: 1: a-2\.avhdx"):
        none_left(Keeps(("a-2.avhdx",)), (), expecting())
