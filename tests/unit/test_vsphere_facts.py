"""What an ESXi host is, by what vCenter says of it."""

from typing import Any

import pytest

from harness.backends.vsphere.facts import _most_vcpus


@pytest.mark.parametrize(
    ("told", "processors", "most"),
    [
        ({"maxSupportedVcpus": 8, "maxHostSupportedVcpus": 4096}, None, 8),  # of guests that are emulated
        ({"maxSupportedVcpus": 4096, "maxHostSupportedVcpus": 64}, 96, 64),  # the licence's
        ({"maxSupportedVcpus": 4096, "maxHostSupportedVcpus": 4096}, 24, 24),
        ({}, 24, 24),
        ({}, 256, 128),
        ({"maxHostSupportedVcpus": 0}, None, 128),
    ],
)
def test_a_machine_has_no_more_vcpus_than_the_least_that_bounds_them(
    told: dict[str, Any], processors: int | None, most: int
) -> None:
    assert _most_vcpus({f"capability.{name}": value for name, value in told.items()}, processors) == most
