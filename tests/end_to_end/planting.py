"""A plugin of inner runs: each check on a sound guest, and on one with the defect of ``defects`` that it must catch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.lab import twins
from harness.twins.hyperv.host import control
from tests.end_to_end.defects import ALL, FULL_DISK, IN_GUESTS_OF_TWINS, Defect

PARAMETER = "planted"
"""The parameter that tells both results of a check apart: ``spoilt``, or ``sound``."""
SOUND, SPOILT = "sound", "spoilt"


def defect_of(item: pytest.Item) -> Defect | None:
    """What is wrong with this test's guest, on the host that the test is for."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get(PARAMETER) != SPOILT:
        return None
    name = getattr(item, "originalname", item.name)
    of_this_test = [defect for defect in (*ALL, FULL_DISK, *IN_GUESTS_OF_TWINS) if defect.test == name]
    return next((defect for defect in of_this_test if item.get_closest_marker(defect.host)), None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each check on a guest that nothing is wrong with, and on one that something is: in one run, which boots once."""
    if "host" in metafunc.fixturenames:
        metafunc.parametrize(PARAMETER, [SOUND, SPOILT], indirect=True, ids=[SOUND, SPOILT])


@pytest.hookimpl(tryfirst=True)  # the harness reads the markers of an item in this hook
def pytest_itemcollected(item: pytest.Item) -> None:
    """Whoever gets a spoilt guest gets one that nobody else had, and nobody has after it."""
    defect = defect_of(item)
    if defect:
        item.add_marker(pytest.mark.changes_guest)
        if defect.apart:
            item.add_marker(pytest.mark.shape(**defect.apart), append=False)


@pytest.fixture(autouse=True)
def planted(request: pytest.FixtureRequest) -> Iterator[str]:
    defect = defect_of(request.node)
    if defect is None:
        yield SOUND
        return
    request.getfixturevalue("host")  # whose twin runs by then
    with gone_wrong(defect):
        request.getfixturevalue("guest").shell(defect.script)
        yield SPOILT


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
