"""A vSphere host's section of a lab file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.backends.vsphere import Settings
from harness.core import LabError
from harness.core.secrets import Secret

REAL = {"endpoint": "vcenter.example", "user": "interop@vsphere.local", "password": Secret("env:NO_SUCH_PASSWORD")}
SAID = {
    "endpoint": "127.0.0.1:8989",
    "ca": "/x/ca.pem",
    "user": "twin",
    "password": "its-own",
    "datacenter": "DC0",
    "esxi": ["esx1"],
    "datastore": "store",
    "accel": "kvm",
}


def refusal(**values):
    """What is said about settings that cannot be."""
    with pytest.raises(ValidationError) as caught:
        Settings(**values)
    return str(caught.value)


def test_a_real_host_needs_to_be_named_and_logged_in_to():
    assert "needs user and password, or twin: true" in refusal(endpoint="vcenter.example")
    assert Settings(**REAL).address == ("vcenter.example", 443)
    assert not Settings(**REAL).local


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("a.example:8443", ("a.example", 8443)),
        ("192.0.2.7", ("192.0.2.7", 443)),
        ("[2001:db8::1]:444", ("2001:db8::1", 444)),
    ],
)
def test_an_endpoint_is_a_name_or_address_and_maybe_a_port(endpoint, address):
    assert Settings(**{**REAL, "endpoint": endpoint}).address == address


@pytest.mark.parametrize("endpoint", ["https://a.example", "a.example/sdk", "user@a.example", "a b"])
def test_an_endpoint_is_no_url(endpoint):
    assert "no https:// and no path" in refusal(**{**REAL, "endpoint": endpoint})


def test_a_thumbprint_may_have_colons_and_must_be_sha256():
    colons = ":".join(["AB"] * 32)
    assert Settings(**REAL, thumbprint=colons).thumbprint == "ab" * 32
    assert "SHA-1" in refusal(**REAL, thumbprint=":".join(["AB"] * 20))
    assert "64 hexadecimal digits" in refusal(**REAL, thumbprint="xyz")


def test_several_esxi_are_several_hosts():
    one = Settings(**REAL, esxi="a.example")
    two = Settings(**REAL, esxi=("esx-A.example", "b.example"))
    assert one.expand("vc") == {"vc": one}
    assert {name: settings.esxi for name, settings in two.expand("vc").items()} == {
        "vc-esx-a.example": "esx-A.example",
        "vc-b.example": "b.example",
    }


def test_an_esxi_whose_name_is_too_long_for_a_lab_is_called_by_its_first_label():
    """The lab refuses what stays too long, and says why."""
    tail = ".rack7.site-two.datacenter.example.net"
    names = list(Settings(**REAL, esxi=(f"esx1{tail}", "esx2.example")).expand("vcenter"))
    assert names == ["vcenter-esx1", "vcenter-esx2.example"]
    alike = (f"esx1{tail}", "esx1.example")
    assert list(Settings(**REAL, esxi=alike).expand("vcenter")) == [f"vcenter-esx1{tail}", "vcenter-esx1.example"]


def test_a_twin_brings_its_own_address_and_account():
    assert "a twin has its own endpoint" in refusal(twin=True, endpoint="vcenter.example")
    asked = Settings(twin=True)
    assert asked.local
    with pytest.raises(LabError, match="has not been started"):
        _ = asked.address
    found = asked.at_twin(SAID)
    assert (found.address, found.reveal(), found.ca) == (("127.0.0.1", 8989), "its-own", Path("/x/ca.pem"))
    assert (found.datacenter, found.esxi, found.datastore) == ("DC0", "esx1", "store")
    assert found.accelerated == "kvm"


def test_a_twins_password_is_never_written_down():
    found = Settings(twin=True, esxi=("a", "b")).expand("vc")["vc-a"].at_twin(SAID)
    assert found.esxi == "a"
    assert "its-own" not in found.model_dump_json() + repr(found) + str(found)


def test_a_password_is_fetched_when_it_is_needed():
    with pytest.raises(LabError, match="NO_SUCH_PASSWORD"):
        Settings(**REAL).reveal()


@pytest.mark.parametrize(
    ("console", "address", "ports"),
    [
        ("file", "esx1", range(0)),
        ("tcp://:13000-13099", "esx1", range(13000, 13100)),
        ("tcp://10.0.0.1:5000-5000", "10.0.0.1", range(5000, 5001)),
        ("tcp://[fd00::1]:1-2", "fd00::1", range(1, 3)),
    ],
)
def test_a_console_is_a_file_or_a_range_of_ports(console, address, ports):
    settings = Settings(**REAL, console=console)
    assert settings.ports() == ports
    assert settings.console_address("esx1") == address


@pytest.mark.parametrize("console", ["", "tcp://esx1", "tcp://esx1:5000", "tcp://:9-5", "tcp://:0-5", "tcp://:1-65536"])
def test_another_console_is_refused_with_what_there_is(console):
    assert "write file, or tcp://ADDRESS:FIRST-LAST" in refusal(**REAL, console=console)
