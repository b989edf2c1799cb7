"""How our own tests are spread over workers."""

import pytest

from tests.spreading import EVERYBODY, column_of

COLUMNS = ("kvm", "vsphere")


@pytest.mark.parametrize(
    ("parameters", "column"),
    [("[kvm]", "kvm"), ("[first-vsphere]", "vsphere"), ("[kvm-revert to nothing when off]", "kvm"), ("", EVERYBODY)],
)
def test_a_test_goes_where_the_guests_of_its_column_are(parameters, column):
    assert column_of(f"tests/contract/test_contract_kvm.py::test_it{parameters}", COLUMNS) == column


def test_a_host_of_a_lab_is_one_column_whatever_its_name():
    assert column_of("tests/contract/test_contract_power.py::test_it[kvm]", ()) == EVERYBODY
