"""C10 on recorded lists of CPUs: an emulated host never sees one go, so the check is run on what guests wrote."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core import Deadline
from harness.guest.cpus import Cpus
from harness.guest.probe import Probe
from harness.guest.result import Result
from suites.vcpu import test_plug as suite
from tests.end_to_end.defects import UNPLUGGED

FOLDER = "/sys/devices/system/cpu"
TWO = {"possible": b"0-7\n", "present": b"0-1\n", "online": b"0-1\n"}
FOUR = {"possible": b"0-7\n", "present": b"0-3\n", "online": b"0-3\n"}
EXPECT: Any = SimpleNamespace(deadline=lambda _: Deadline.after(0.3), noise=())


class Recorded:
    """A guest that shows its lists of CPUs as they were recorded before, with four vCPUs, and with two again.

    Args:
        lists: with four vCPUs, and after two were taken away.
        seen: what the host says then.
    """

    name = "recorded"

    def __init__(self, *lists: Mapping[str, bytes], seen: int = 2) -> None:
        self._lists: Iterator[Mapping[str, bytes]] = iter(lists)
        self._now: Mapping[str, bytes] = TWO
        self._seen = seen
        self.cpus = Cpus(self)  # type: ignore[arg-type]
        self.kernel = SimpleNamespace(undisturbed=self._undisturbed)
        self.machine = SimpleNamespace(resize=self._resize, view=lambda _: SimpleNamespace(vcpus=self._seen))

    def read(self, probe: Probe[Any]) -> Any:
        shown = b"".join(f"{FOLDER}/{name}".encode() + b"\0" + text for name, text in self._now.items())
        return probe.value(Result(probe.argv, 0, shown, b""), self.name)

    def _resize(self, _: Deadline, *, vcpus: int) -> None:
        del vcpus
        self._now = next(self._lists)

    @contextmanager
    def _undisturbed(self, _: Any) -> Iterator[None]:
        yield


CHECK: Callable[..., None] = suite.test_vcpus_are_removed_while_running


def test_a_guest_that_lets_go_of_its_cpus_passes() -> None:
    CHECK(Recorded(FOUR, TWO), EXPECT)


@pytest.mark.parametrize("defect", UNPLUGGED)
def test_a_defect_is_caught(defect: str) -> None:
    with pytest.raises(AssertionError, match=r"2 CPUs present in recorded|vCPUs online after removal"):
        CHECK(Recorded(FOUR, TWO | UNPLUGGED[defect]), EXPECT)


def test_a_host_that_counts_otherwise_is_caught() -> None:
    with pytest.raises(AssertionError, match="asked of the host 2, seen by the host 4, seen by the guest 2"):
        CHECK(Recorded(FOUR, TWO, seen=4), EXPECT)
