"""A plugin of inner runs: every test of a host as many times as ``--again`` says, in the same run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--again", type=int, default=1)


@pytest.fixture(autouse=True)
def again(request: pytest.FixtureRequest) -> int | None:
    """Which of the times this is: a part of the result's identity, so that none hides another."""
    return getattr(request, "param", None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" in metafunc.fixturenames:
        times = range(metafunc.config.getoption("--again"))
        # Without digits: `-k 2` means two vCPUs.
        names = [f"again_{'abcdefghijklmnopqrstuvwxyz'[time]}" for time in times]
        metafunc.parametrize("again", times, indirect=True, ids=names)
