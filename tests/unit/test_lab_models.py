"""Lab files: what loads, what each mistake is told as."""

import sys
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest

from harness.core import GiB, UsageError
from harness.core.config import read_yaml
from harness.core.secrets import FORMS
from harness.lab.load import lab_model, load_lab
from harness.lab.models import THIS_MACHINE
from tests.unit.announcing import announce

GOOD = """\
hosts:
  near:
    backend: toy
  far:
    backend: toy
    pool: rack
    uri: toy://far/
    password: env:FAR_PASSWORD
    capacity: {vcpus: 8, memory: 16 GiB, guests: 4}
    networks: {management: lan}
networks:
  management: {kind: user}
  peers: {kind: switch, subnet: 10.77.0.0/24}
  lan:
    kind: bridge
    source: br0
    subnet: 192.0.2.0/24
    addresses: 192.0.2.100-192.0.2.199
    macs: 52:54:00:77
    jump: {address: jump.example, user: lab}
limits: {expiry: 7d}
"""

BOMB = "a: &a [x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefg"))


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    """Two installed backends, found as anybody's are: `toy`, and `torn`, whose requirements are missing."""
    (tmp_path / "interop_toy.py").write_text(
        "from harness.backends.registry import HostSettings\n"
        "from harness.core.secrets import Secret\n"
        "class Settings(HostSettings):\n"
        "    uri: str = 'toy:///'\n"
        "    '''Where the toy is.'''\n"
        "    password: Secret | None = None\n"
        "    @property\n"
        "    def embedded(self): return self.uri == 'toy:///'\n"
        "connect = None\n"
    )
    (tmp_path / "interop_torn.py").write_text("import there_is_no_such_library\n")
    announce(tmp_path, "interop-toy", "[interop.backends]\ntoy = interop_toy\ntorn = interop_torn\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("interop_toy", "interop_torn"):
        monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.fixture
def lab_file(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "lab.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def complaints(path: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_lab(path)
    return [line.removeprefix(f"{path}:") for line in caught.value.message.splitlines()]


def test_hosts_networks_and_limits_are_read(lab_file):
    lab = load_lab(lab_file(GOOD))
    far = lab.hosts["far"]
    assert (far.settings.uri, far.pool, far.domain, far.management, far.peers) == (
        "toy://far/",
        "rack",
        "far",
        "lan",
        "peers",
    )
    assert far.limits == (8, 16 * GiB, 4)
    assert lab.limits.expiry.days == 7
    assert lab.networks["lan"].reached_by == "jump"


def test_a_host_without_a_pool_is_its_own(lab_file):
    pools = load_lab(lab_file(GOOD)).pools()
    assert {pool: [host.name for host in hosts] for pool, hosts in pools.items()} == {"near": ["near"], "rack": ["far"]}


def test_an_embedded_host_lives_on_this_machine_and_takes_its_size(lab_file):
    near = load_lab(lab_file(GOOD)).hosts["near"]
    vcpus, memory, guests = near.limits
    assert near.domain == THIS_MACHINE
    assert vcpus >= 16
    assert memory >= GiB
    assert guests is None


def test_a_user_network_gives_every_guest_the_same_address(lab_file):
    network = load_lab(lab_file(GOOD)).networks["management"]
    assert str(network.lendable) == "10.0.2.15"
    assert network.reached_by == "forward"


def test_a_secret_is_shown_as_its_reference_only(lab_file, monkeypatch):
    monkeypatch.setenv("FAR_PASSWORD", "hunter2")
    lab = load_lab(lab_file(GOOD))
    settings = lab.hosts["far"].settings
    assert "hunter2" not in repr(lab) + settings.model_dump_json()
    assert settings.password.reveal() == "hunter2"


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("uri: toy://far/|ury: toy://far/", "7:5 hosts.far.ury: unknown key; did you mean 'uri'?"),
        ("uri: toy://far/|uri: 7", "7:10 hosts.far.uri: must be text (got 7)"),
        ("uri: toy://far/|uri:", "7:5 hosts.far.uri: has no value"),
        ("pool: rack|pol: rack", "6:5 hosts.far.pol: unknown key; did you mean 'pool'?"),
        ("pool: rack|proxy: http://proxy.example:3128", "6:12 hosts.far.proxy: the backend 'toy' cannot use a proxy"),
        ("vcpus: 8|vcpu: 8", "9:16 hosts.far.capacity.vcpu: unknown key; did you mean 'vcpus'?"),
        (
            "memory: 16 GiB|memory: lots",
            "9:34 hosts.far.capacity.memory: 'lots' is not a size; write for example 1 GiB, 512 MiB or 4096",
        ),
        ("guests: 4|guests: 0", "9:50 hosts.far.capacity.guests: must be greater than or equal to 1 (got 0)"),
        (
            "{management: lan}|{management: lam}",
            "10:28 hosts.far.networks.management: no network is called 'lam'; did you mean 'lan'?",
        ),
        ("kind: user|kind: usr", "12:22 networks.management.kind: 'usr' is not one of user, switch, bridge, network;"),
        ("  near:\n    backend: toy|  near:\n    backend: tyo", "3:14 hosts.near.backend: no backend is called 'tyo'"),
        ("  near:\n    backend: toy|  near:\n    pool: x", "2:3 hosts.near.backend: this key is required"),
        (
            "  near:\n    backend: toy|  near:\n    backend: torn",
            "3:14 hosts.near.backend: the backend 'torn' can",
        ),
        ("  near:|  Near:", "2:3 hosts.Near: 'Near' is not a name"),
        ("  near:|  not:", "2:3 hosts.not: 'not' is a word of pytest's -m expressions"),
        ("source: br0|vlan: 5", "14:3 networks.lan: a bridge needs a source"),
        ("192.0.2.0/24|192.0.2.1/24", "17:13 networks.lan.subnet: '192.0.2.1/24' is not a subnet"),
        ("192.0.2.100-192.0.2.199|192.0.2.100-192.0.3.1", "14:3 networks.lan: the addresses 192.0.2.100-192.0.3.1 are"),
        ("52:54:00:77|00:15:5d", "19:11 networks.lan.macs: '00:15:5d' belongs to a manufacturer"),
        ("52:54:00:77|53:54:00:77", "19:11 networks.lan.macs: '53:54:00:77' holds multicast addresses"),
        ("expiry: 7d|expiry: 7", "21:18 limits.expiry: a duration has a unit"),
        ("expiry: 7d|expiry: long", "21:18 limits.expiry: 'long' is not a duration"),
        ("kind: user}|kind: user, dhcp: yes}", "12:34 networks.management.dhcp: must be true or false (got 'yes')"),
        ("kind: user}|kind: user, gateway: 10.0.2.2}", "12:3 networks.management: a user network has no gateway"),
        ("0.77.0.0/24|0.77.0.0/24, ssh_port: 2222", "13:3 networks.peers: ssh_port needs nat"),
        ("kind: user}|kind: user, nat: 127.78.0.0/16}", "12:3 networks.management: nat needs a subnet whose addresses"),
        ("0.77.0.0/24|0.77.0.0/24, nat: 127.78.0.0/16", "13:3 networks.peers: nat 127.78.0.0/16 and the subnet"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_the_nearest_word(lab_file, wrong, line):
    old, new = wrong.split("|")
    found = complaints(lab_file(GOOD.replace(old, new, 1)))
    assert len(found) == 1
    assert found[0].startswith(line)


def test_all_mistakes_are_told_at_once_in_the_file_s_order(lab_file):
    found = complaints(lab_file(GOOD.replace("uri:", "ury:").replace("kind: user", "kind: usr").replace("7d", "7")))
    assert [line.split(":")[0] for line in found] == ["7", "12", "21"]


def test_a_plain_secret_is_refused_without_repeating_it(lab_file):
    found = complaints(lab_file(GOOD.replace("env:FAR_PASSWORD", "hunter2")))
    assert found == [f"8:15 hosts.far.password: a secret is named, never written here: use {FORMS}"]


def test_a_duplicate_name_is_refused_without_repeating_values(lab_file):
    assert complaints(lab_file(GOOD.replace("uri: toy://far/", "password: hunter2"))) == [
        "8:5 password: stands here twice"
    ]
    assert complaints(lab_file(GOOD.replace("  far:", "  near:"))) == ["4:3 near: stands here twice"]


def test_a_tab_is_named(lab_file):
    assert complaints(lab_file(GOOD.replace("    backend: toy", "\tbackend: toy", 1))) == [
        "3:1 a tab cannot indent YAML; use spaces"
    ]


def test_a_pool_of_two_backends_is_refused(lab_file, tmp_path):
    (tmp_path / "interop_torn.py").write_text("from interop_toy import Settings, connect\n")
    text = GOOD.replace("backend: toy", "backend: torn\n    pool: rack", 1)
    assert complaints(lab_file(text))[0].startswith("7:11 hosts.far.pool: the pool 'rack' holds 'near' of the backend")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1 (top level): the file is empty"),
        ("- 1\n", "1:1 (top level): must be a mapping (key: value) (got [1])"),
        ("hosts: {}\nnetworks: {}\n", "1:1 hosts: "),
        (b"hosts: \xff\n", "1:8 is not UTF-8 text"),
        ("hosts: \x00\n", "1:8 is not YAML: it holds a control character"),
        (BOMB, "1:1 (top level): aliases repeat"),
        ("hosts: !!python/object:os.system {}\nnetworks: {}", "1:1 hosts: "),
        ("hosts: [", "1:9 "),
        ("a: " + "[" * 3000, "1:1 "),
    ],
)
def test_what_is_no_lab_file_at_all_is_told_in_one_line(lab_file, text, line):
    found = complaints(lab_file(text))
    assert found[0].startswith(line)


def test_a_missing_lab_is_told_with_the_nearest_name():
    with pytest.raises(UsageError, match="no lab is called 'locla'; did you mean 'local'"):
        load_lab("locla")
    with pytest.raises(UsageError, match="there is no such lab file"):
        load_lab("./locla.yaml")


def test_a_lab_of_the_working_directory_comes_before_the_product_s_own(tmp_path, monkeypatch):
    (tmp_path / "configs/labs").mkdir(parents=True)
    (tmp_path / "configs/labs/local.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert set(load_lab("local").hosts) == {"near", "far"}


def test_the_schema_takes_what_loads_and_refuses_what_does_not(lab_file):
    schema = lab_model().model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = read_yaml(lab_file(GOOD))
    assert list(validator.iter_errors(good)) == []
    good["hosts"]["near"]["ury"] = "toy:///"
    assert list(validator.iter_errors(good))


def test_the_schema_helps_editors_with_every_key(lab_file):
    definitions = lab_model().model_json_schema()["$defs"]
    network, toy_host = definitions["Network"]["properties"], definitions["toy_host"]["properties"]
    assert all("description" in key for key in network.values())
    assert toy_host["uri"]["description"] == "Where the toy is."


def test_behind_nat_a_guest_is_found_at_the_same_place_of_the_other_subnet(lab_file):
    text = GOOD.replace("subnet: 10.77.0.0/24", "subnet: 10.77.0.0/24, nat: 198.51.100.0/24, ssh_port: 2222")
    network = load_lab(lab_file(text)).networks["peers"]
    assert str(network.outside(IPv4Address("10.77.0.9"))) == "198.51.100.9"
    assert load_lab(lab_file(GOOD)).networks["peers"].outside(IPv4Address("10.77.0.9")) == IPv4Address("10.77.0.9")


MANAGING = """\
from harness.backends.registry import HostSettings
class Settings(HostSettings):
    nodes: tuple[str, ...] = ()
    def expand(self, name):
        return {f"{name}-{node}": self.model_copy(update={"nodes": (node,)}) for node in self.nodes} or {name: self}
connect = None
"""


@pytest.fixture
def managing(tmp_path):
    """The backend `torn` is one whose endpoints manage several hosts each."""
    (tmp_path / "interop_torn.py").write_text(MANAGING)


def test_an_endpoint_that_manages_several_hosts_is_a_pool_of_them(lab_file, managing):
    text = GOOD.replace("near:\n    backend: toy", "near:\n    backend: torn\n    nodes: [a, b]", 1)
    lab = load_lab(lab_file(text))
    assert {pool: [host.name for host in hosts] for pool, hosts in lab.pools().items()} == {
        "near": ["near-a", "near-b"],
        "rack": ["far"],
    }
    assert [lab.hosts[name].domain for name in ("near-a", "near-b")] == ["near-a", "near-b"]
    assert lab.hosts["near-b"].settings.nodes == ("b",)
    assert {host.twin for host in lab.hosts.values()} == {None}


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ("far", "6:3 hosts.x-far: two hosts are called 'x-far'"),
        (
            "B",
            "2:3 hosts.x: stands for a host that cannot be called 'x-B' in a lab: lower-case letters, digits, _ . -, "
            "beginning with a letter, at most 40 in all",
        ),
    ],
)
def test_the_hosts_that_an_endpoint_manages_need_names_of_their_own(lab_file, managing, node, line):
    text = GOOD.replace("  near:\n    backend: toy", f"  x:\n    backend: torn\n    nodes: [{node}]", 1)
    text = text.replace("  far:\n", "  x-far:\n").replace("    nodes", "    # a comment\n    nodes")
    assert complaints(lab_file(text))[0] == line
