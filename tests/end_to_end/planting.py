"""A plugin of inner runs: plants the defects of ``defects.py`` into the guests of the checks that must catch them."""

from __future__ import annotations

import pytest

from tests.end_to_end.defects import ALL, Defect

BY_TEST: dict[str, Defect] = {defect.test: defect for defect in ALL}


def planted(item: pytest.Item) -> Defect | None:
    """The defect of this test's guest."""
    return BY_TEST.get(getattr(item, "originalname", item.name))


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
