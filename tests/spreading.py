"""How our own tests are spread over xdist's workers: whole groups, because tests of one share guests."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

EVERYBODY = "no column"


def column_of(nodeid: str, columns: Collection[str]) -> str:
    """The column a test belongs to, by its identifier: all that xdist's controller knows of it."""
    _, bracket, parameters = nodeid.partition("[")
    if bracket:
        words = re.split(r"[\[\]-]", parameters)
        return next((column for column in columns if column in words), EVERYBODY)
    return EVERYBODY


def scheduler(config: Any, log: Any, group: Callable[[str], str]) -> Any:
    """A scheduler of xdist that hands out whole groups.

    Args:
        config: pytest's.
        log: xdist's.
        group: the group of a test, by its identifier.
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return GroupScheduling(config, log)
