"""Checks of the network that want NICs on taps: they pass on recordings of a guest, and fail on spoilt ones.

``tests/recorded/talks.py`` says of which guest they are.
"""

import re
from dataclasses import replace

import pytest

from tests.recorded.talks import RECORDED, Misheard, Recorded, Said, check, expectations, recording

CHECKS = {
    "test_what_many_send_is_spread_over_queues_and_cpus": ("test_spread", "kvm-tap-4-queues-spread"),
    "test_channels_can_be_set_up_to_the_most": ("test_tuning", "kvm-tap-4-queues-channels"),
    "test_offloads_change_nothing_but_the_work": ("test_tuning", "kvm-tap-offloads"),
}
pytestmark = pytest.mark.recorded


def run(test: str, said: list[Said]) -> None:
    guest = Recorded("guest", "10.99.0.2", "52:54:00:12:34:56", said, vcpus=4)
    peer = Recorded("peer", "10.99.0.1", "52:54:00:12:34:57", said, vcpus=4)
    check("network", CHECKS[test][0], test)(guest, peer, expectations())


def spoilt(said: list[Said], defect: Misheard) -> list[Said]:
    """The recording with the defect in it, which must be found as often as it is said to be there."""
    changed = list(said)
    asked = [at for at, one in enumerate(said) if re.search(defect.asked, one.words)]
    for at in asked[defect.answers]:
        text, number = re.subn(defect.pattern, defect.instead, said[at].stdout, flags=re.MULTILINE)
        assert number, f"{said[at].words}: there is no {defect.pattern!r} to change"
        changed[at] = replace(said[at], stdout=text)
    assert changed != said
    return changed


@pytest.mark.parametrize("test", CHECKS)
def test_a_recorded_check_passes_on_what_was_recorded(test: str) -> None:
    """The control: nothing fails that was not broken."""
    run(test, recording(CHECKS[test][1]))


@pytest.mark.parametrize("defect", RECORDED, ids=lambda defect: f"{defect.check}: {defect.words}")
def test_a_recorded_check_fails_on_what_was_spoilt(defect: Misheard) -> None:
    """In words of the check's own, not for want of an answer."""
    with pytest.raises(AssertionError, match=defect.says):
        run(defect.test, spoilt(recording(CHECKS[defect.test][1]), defect))


def test_every_check_with_a_recording_has_a_defect() -> None:
    assert {defect.test for defect in RECORDED} == set(CHECKS)
