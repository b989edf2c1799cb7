"""The seed: what is on the ISO, and what is refused before one is written."""

import io
import json
from dataclasses import replace
from pathlib import Path

import asyncssh
import pycdlib
import pytest

from harness.core import UsageError
from harness.core.process import run
from harness.image.keys import generate
from harness.image.seed import SeedNic, SeedSpec, network_config, user_data, write_seed
from tests.unit.tiny_images import soon

HOST_KEY, LOGIN = generate(), generate("somebody")
SPEC = SeedSpec(
    instance_id="i-1",
    hostname="guest-1",
    machine_id="0123456789abcdef" * 2,
    nics=(SeedNic("52:54:00:00:00:01", "10.0.2.15/24"), SeedNic("52:54:00:00:00:02")),
    host_key=HOST_KEY,
    authorized_keys=(LOGIN.public,),
    extra_files={"/etc/defect": b"\x00\xff"},
    commands=(("touch", "/root/once; rm -rf x"),),
)


def document(path: Path, name: str) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    out = io.BytesIO()
    iso.get_file_from_iso_fp(out, rr_path=f"/{name}")
    iso.close()
    return out.getvalue()


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seed(SPEC, tmp_path_factory.mktemp("seed") / "seed.iso")


def test_the_label_is_what_cloud_init_looks_for(seed: Path) -> None:
    assert (
        b'LABEL="cidata"' in run(["blkid", "-p", "-o", "udev", seed], soon())
        or b"cidata" in seed.read_bytes()[16 * 2048 : 17 * 2048]
    )


def test_the_user_data_names_its_format_and_is_what_was_asked(seed: Path) -> None:
    first, _, rest = document(seed, "user-data").partition(b"\n")
    assert first == b"#cloud-config"
    assert json.loads(rest) == user_data(SPEC)


def test_the_meta_data_holds_instance_and_name(seed: Path) -> None:
    tree = json.loads(document(seed, "meta-data"))
    assert (tree["instance-id"], tree["local-hostname"]) == ("i-1", "guest-1")


def test_only_the_owner_can_read_the_private_host_key(seed: Path) -> None:
    assert seed.stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_beside_the_seed(seed: Path) -> None:
    assert [path.name for path in seed.parent.iterdir()] == ["seed.iso"]


def test_no_guest_of_the_default_network_has_a_way_out() -> None:
    text = json.dumps(network_config(SPEC.nics))
    assert "gateway" not in text
    assert "nameservers" not in text
    assert all(nic["accept-ra"] is False for nic in network_config(SPEC.nics)["ethernets"].values())


def test_nics_are_found_by_mac_in_the_order_given() -> None:
    nics = network_config(SPEC.nics)["ethernets"]
    assert nics["eth0"]["match"] == {"macaddress": "52:54:00:00:00:01"}
    assert nics["eth0"]["addresses"] == ["10.0.2.15/24"]
    assert "addresses" not in nics["eth1"]


def test_a_lab_with_a_router_is_served_too() -> None:
    nic = SeedNic("52:54:00:00:00:01", "192.0.2.5/24", gateway="192.0.2.1", dns=("192.0.2.2",), mtu=9000)
    tree = network_config([nic])["ethernets"]["eth0"]
    assert (tree["gateway4"], tree["mtu"]) == ("192.0.2.1", 9000)
    assert tree["nameservers"] == {"addresses": ["192.0.2.2"]}


def test_commands_are_words_that_no_shell_reads() -> None:
    assert user_data(SPEC)["bootcmd"][-1][-2:] == ["touch", "/root/once; rm -rf x"]


def test_root_logs_in_without_an_account_of_its_own() -> None:
    tree = user_data(SPEC)
    assert (tree["users"], tree["disable_root"]) == ([], False)
    assert tree["ssh_authorized_keys"] == [LOGIN.public]


def test_another_account_gets_sudo() -> None:
    (account,) = user_data(replace(SPEC, user="tester"))["users"]
    assert account["sudo"] == "ALL=(ALL) NOPASSWD:ALL"
    assert account["ssh_authorized_keys"] == [LOGIN.public]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hostname": "a.b"}, "is no host name"),
        ({"hostname": "x; reboot"}, "is no host name"),
        ({"machine_id": "123"}, "is no machine id"),
        ({"nics": (SeedNic("52-54-00-00-00-01"),)}, "is no MAC address"),
        ({"nics": (SeedNic("52:54:00:00:00:01"), SeedNic("52:54:00:00:00:01"))}, "same MAC address"),
        ({"nics": (SeedNic("52:54:00:00:00:01", "10.0.2.15"),)}, "lacks its prefix length"),
        ({"nics": (SeedNic("52:54:00:00:00:01", "10.0.2.300/24"),)}, "is no IPv4 address"),
        ({"extra_files": {"etc/x": b""}}, "is not an absolute path"),
    ],
)
def test_what_no_guest_could_use_is_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SPEC, **change)


def test_keys_are_what_openssh_reads() -> None:
    private = asyncssh.import_private_key(LOGIN.private)
    public = asyncssh.import_public_key(LOGIN.public)
    assert private.convert_to_public().public_data == public.public_data
    assert public.get_algorithm() == "ssh-ed25519"


def test_a_private_key_is_never_shown() -> None:
    assert "PRIVATE" not in repr(LOGIN)
    assert "PRIVATE" not in repr(SPEC)


def test_every_key_is_new() -> None:
    assert generate().public != generate().public
