"""A fact is right only when what was asked, what the host says and what the guest sees are one."""

import pytest

from harness.measure.views import Views


@pytest.mark.parametrize(
    ("asked", "host", "guest", "agree"), [(4, 4, 4, True), (4, 4, 2, False), (4, 2, 4, False), (2, 4, 4, False)]
)
def test_one_view_apart_is_no_agreement(asked: int, host: int, guest: int, agree: bool) -> None:
    assert Views("vCPUs", asked=asked, host=host, guest=guest).agree == agree


def test_a_disagreement_names_all_three() -> None:
    views = Views("vCPUs", asked=4, host=4, guest=3)
    assert repr(views) == str(views), "an assertion shows the repr"
    assert str(views) == "vCPUs: asked of the host 4, seen by the host 4, seen by the guest 3"
