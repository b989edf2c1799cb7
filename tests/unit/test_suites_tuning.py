"""What the check of rings and channels makes of drivers that do not do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from harness.guest.ethernet import Tuned
from harness.guest.result import Result

FILE = Path(__file__).parents[2] / "suites" / "network" / "test_tuning.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    """The module that holds the check."""
    spec = importlib.util.spec_from_file_location("tuning_under_test", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Driver:
    """A driver that is told numbers of channels.

    Args:
        most: what it says is the most.
        takes: what it really can do.
        deaf: whether it says yes and does nothing.
    """

    def __init__(self, most: int = 8, takes: int = 8, *, deaf: bool = False) -> None:
        self.most, self.takes, self.deaf = most, takes, deaf
        self.now = 4

    def read(self) -> Tuned:
        return Tuned({"Combined": self.most}, {"Combined": self.now})

    def ask(self, *, combined: int) -> Result:
        if combined > self.takes:
            return Result((), 1, b"", b"netlink error: Invalid argument")
        self.now = self.now if self.deaf else combined
        return Result((), 0, b"", b"")


def test_an_honest_driver_passes(check: ModuleType) -> None:
    """And is left with the most that it can do."""
    driver = Driver()
    check.takes(driver.read, driver.ask, "Combined", 1)
    assert driver.now == 8


@pytest.mark.parametrize(
    ("driver", "complaint"),
    [
        (Driver(deaf=True), "Combined was set to 1, of 8 at most, and is 4"),
        (Driver(takes=7), "Combined of 8, of 8 at most, was refused: netlink error"),
        (Driver(takes=9), "Combined of 9 was accepted, though 8 is said to be the most; now it is 9"),
        (Driver(most=1), "Combined can be 1 at most: nothing can be changed"),
    ],
)
def test_a_driver_that_promises_else_fails(check: ModuleType, driver: Driver, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check.takes(driver.read, driver.ask, "Combined", 1)
