"""Where guests are found from outside, read from the seed in their drive."""

from __future__ import annotations

import pytest

from harness.image.keys import generate
from harness.image.seed import SeedNic, SeedSpec, write_seed
from harness.twins.engine import EngineError, NatNetwork, Nic
from harness.twins.engine.nat import forward, restricted, seeded
from tests.twins.engine.conftest import hardware

MAC, OTHER = "00:50:56:00:00:01", "00:50:56:00:00:02"
NETWORK = NatNetwork("10.78.0.0/16", "127.78.0.0/16", 2222)


@pytest.fixture
def seed(tmp_path):
    nics = (SeedNic(MAC, "10.78.3.7/16"), SeedNic(OTHER))
    return write_seed(SeedSpec("i-1", "one", nics, generate(), ()), tmp_path / "seed.iso")


def test_the_seed_tells_addresses_by_mac(seed):
    assert seeded(seed) == {MAC: "10.78.3.7"}


@pytest.mark.parametrize("content", [None, b"", b"no ISO at all", b"\0" * 100_000])
def test_another_cd_tells_nothing(tmp_path, content):
    path = tmp_path / "other.iso"
    if content is not None:
        path.write_bytes(content)
    assert seeded(path) == {}
    assert seeded(None) == {}


def test_the_same_host_part_is_found_outside():
    assert forward(NETWORK, "10.78.3.7") == ("127.78.3.7", 2222)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        (NETWORK, "10.79.0.1"),
        (NatNetwork("10.78.0.0/16", "127.78.0.0/24"), "10.78.0.1"),
        (NatNetwork("10.78.0.0/16", "192.168.0.0/16"), "10.78.0.1"),
    ],
)
def test_what_does_not_fit_or_leaves_this_machine_is_refused(network, address):
    with pytest.raises(EngineError):
        forward(network, address)


def test_every_back_end_is_restricted():
    tree = restricted(NETWORK, "10.78.3.7")
    assert (tree["restrict"], tree["ipv6"]) == (True, False)
    assert tree["hostfwd"] == [{"str": "tcp:127.78.3.7:2222-10.78.3.7:22"}]
    assert "hostfwd" not in restricted(NETWORK, None)


def test_a_machine_tells_where_its_guest_is(engine, seed):
    machine = engine.add("vm-1", hardware(cdrom=seed, nics=(Nic(MAC, "nat"), Nic(OTHER, "peers"))))
    assert machine.addresses() == {MAC: ("127.78.3.7", 2222)}
