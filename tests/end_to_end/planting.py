"""A plugin of inner runs: plants the defects of ``defects.py`` into the guests of the checks that must catch them."""

from __future__ import annotations

import pytest

from tests.end_to_end.defects import ALL, IN_GUESTS_OF_TWINS, Defect


def planted(item: pytest.Item) -> Defect | None:
    """The defect of this test's guest, on the host that the test is for."""
    name = getattr(item, "originalname", item.name)
    of_this_test = [defect for defect in (*ALL, *IN_GUESTS_OF_TWINS) if defect.test == name]
    return next((defect for defect in of_this_test if item.get_closest_marker(defect.host)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever gets a spoilt guest gets one that nobody else had, and nobody has after it."""
    for item in items:
        if planted(item):
            item.add_marker(pytest.mark.changes_guest)


@pytest.fixture(autouse=True)
def _spoilt(request: pytest.FixtureRequest) -> None:
    defect = planted(request.node)
    if defect:
        request.getfixturevalue("guest").shell(defect.script)
