"""Optional verbs are asked for by their Protocol; a host that lacks them is the lab's matter."""

import pytest

from harness.backends.protocol import NmiInjector
from harness.backends.verbs import able
from harness.core import Deadline, LabError


class WithNmi:
    def nmi(self, deadline: Deadline) -> None:
        """Inject nothing."""


def test_a_thing_with_the_verbs_is_handed_back() -> None:
    thing = WithNmi()
    assert able(thing, NmiInjector) is thing


def test_a_thing_without_the_verbs_is_the_labs_fault() -> None:
    with pytest.raises(LabError, match="object has not got the verbs of NmiInjector"):
        able(object(), NmiInjector)
