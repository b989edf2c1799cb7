"""A plugin of inner runs: plants the defects of ``defects`` into the guests of the checks that must catch them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lab import twins
from harness.twins.hyperv.host import control
from tests.end_to_end.defects import ALL, FULL_DISK, IN_GUESTS_OF_TWINS, Defect


def planted(item: pytest.Item) -> Defect | None:
    """The defect of this test's guest, on the host that the test is for."""
    name = getattr(item, "originalname", item.name)
    of_this_test = [defect for defect in (*ALL, FULL_DISK, *IN_GUESTS_OF_TWINS) if defect.test == name]
    return next((defect for defect in of_this_test if item.get_closest_marker(defect.host)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever gets a spoilt guest gets one that nobody else had, and nobody has after it."""
    for item in items:
        if planted(item):
            item.add_marker(pytest.mark.changes_guest)


@pytest.fixture(autouse=True)
def _spoilt(request: pytest.FixtureRequest) -> Iterator[None]:
    defect = planted(request.node)
    if defect is None:
        yield
        return
    request.getfixturevalue("guest").shell(defect.script)
    with gone_wrong(defect):
        yield


@contextlib.contextmanager
def gone_wrong(defect: Defect) -> Iterator[None]:
    """The twin of this run does what the defect plans for it, until the check is over."""
    run = os.environ.get(twins.OF_RUN)
    of_this_run = (twin for twin in twins.known() if (twin.run, twin.section) == (run, defect.host))
    folder = Path(next(of_this_run).folder) if defect.plan else None
    if folder:
        control(folder, {"plan": defect.plan})
    try:
        yield
    finally:
        if folder:
            control(folder, {"plan": []})
