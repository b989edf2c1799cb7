"""One worker a column: the tests of a backend share two guests, which no other worker could take."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

EVERYBODY = "no column"


def column_of(nodeid: str, columns: Collection[str]) -> str:
    """The column a test belongs to, by its identifier: all that xdist's controller knows of it."""
    _, bracket, parameters = nodeid.partition("[")
    if bracket:
        words = re.split(r"[\[\]-]", parameters)
        return next((column for column in columns if column in words), EVERYBODY)
    return EVERYBODY


def scheduler(config: Any, log: Any, columns: Collection[str]) -> Any:
    """A scheduler of xdist that hands out whole columns."""
    from xdist.scheduler import LoadScopeScheduling

    class ColumnScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return column_of(nodeid, columns)

    return ColumnScheduling(config, log)
