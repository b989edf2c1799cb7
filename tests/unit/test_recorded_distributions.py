"""The same probes on four distributions: package managers, initramfs, network and SELinux as each of them shows it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.backends.model import Endpoint
from harness.guest import ProbeFailed
from harness.guest.initramfs import Initramfs
from harness.guest.kernel import Selinux
from harness.guest.services import upstream
from tests.recorded.guest import RecordedGuest, Tree
from tests.unit.fake_machine import FakeMachine


@dataclass(frozen=True)
class Told:
    """What its guest is to say."""

    pretty_name: str
    agent: str
    tools: str | None
    packed: frozenset[str]
    built_in: frozenset[str]
    network: str
    selinux: Selinux = Selinux.DISABLED


DISTRIBUTIONS = {
    "debian": Told(
        "Debian GNU/Linux 13 (trixie)",
        "1:10.0.13+ds-0+deb13u1",
        None,  # removed, not purged
        frozenset({"virtio_blk", "hid_hyperv"}),
        frozenset({"pci_hyperv_intf", "binfmt_script"}),
        "systemd-networkd.service",
    ),
    "ubuntu": Told(
        "Ubuntu 24.04.1 LTS",
        "1:8.2.2+ds-0ubuntu1.4",
        "2:12.4.5-1~ubuntu0.24.04.2",
        frozenset({"hv_vmbus", "hv_storvsc", "vmw_pvscsi"}),
        frozenset({"virtio_blk", "virtio_net"}),
        "systemd-networkd.service",
    ),
    "rhel": Told(
        "Red Hat Enterprise Linux 9.4 (Plow)",
        "8.2.0-11.el9_4",
        None,
        frozenset({"virtio_blk", "vmw_pvscsi"}),
        frozenset({"virtio_console", "virtio_pci"}),
        "NetworkManager.service",
        Selinux.ENFORCING,
    ),
    "sles": Told(
        "SUSE Linux Enterprise Server 15 SP6",
        "8.2.6-150600.3.15.1",
        "12.4.0-150600.1.3",
        frozenset({"virtio_blk", "hv_vmbus", "hv_netvsc"}),
        frozenset({"virtio", "ext4"}),
        "wicked.service",
    ),
}


@pytest.fixture(params=DISTRIBUTIONS)
def name(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


@pytest.fixture
def tree(name: str, tmp_path: Path) -> Tree:
    """Its files and tools."""
    return Tree(name, tmp_path / "root")


@pytest.fixture
def guest(tree: Tree) -> RecordedGuest:
    """A guest of it."""
    return RecordedGuest(tree, FakeMachine(Endpoint("127.0.0.1")))  # type: ignore[arg-type]


@pytest.fixture
def told(name: str) -> Told:
    """What it is to say."""
    return DISTRIBUTIONS[name]


def test_it_says_who_it_is(guest: RecordedGuest, told: Told) -> None:
    assert guest.system.os_release().pretty_name == told.pretty_name


def test_a_package_has_the_version_that_is_installed(guest: RecordedGuest, told: Told) -> None:
    """By dpkg or rpm, and without the words of the one that is there as a mere tool."""
    assert guest.services.version("qemu-guest-agent") == told.agent
    assert upstream(told.agent)[0].isdigit()


def test_a_package_that_is_not_installed_has_no_version(guest: RecordedGuest, told: Told) -> None:
    """Neither one that was removed and left its configuration, nor one that rpm says so of on standard output."""
    assert guest.services.version("open-vm-tools") == told.tools
    assert guest.services.version("hyperv-daemons") is None


def test_the_initramfs_is_found_and_listed_by_whoever_made_it(guest: RecordedGuest, told: Told) -> None:
    assert Initramfs(guest).modules() == told.packed
    assert Initramfs(guest).built_in() == told.built_in


def test_an_initramfs_that_is_gone_is_told_by_name(guest: RecordedGuest, tree: Tree) -> None:
    for file in tree.at("/boot").iterdir():
        file.unlink()
    with pytest.raises(ProbeFailed, match="there is no initramfs of"):
        Initramfs(guest).modules()


def test_what_sets_up_the_network_is_what_runs(guest: RecordedGuest, told: Told) -> None:
    assert guest.services.network() == told.network


def test_selinux_is_as_enforced_as_the_kernel_says(guest: RecordedGuest, tree: Tree, told: Told) -> None:
    assert guest.kernel.selinux() is told.selinux
    tree.write("/sys/fs/selinux/enforce", "0")
    assert guest.kernel.selinux() is Selinux.PERMISSIVE


@pytest.mark.parametrize("name", ["rhel"], indirect=True)
def test_what_selinux_denies_is_no_complaint_of_the_kernels(guest: RecordedGuest) -> None:
    """Enforcing is what the lab chose; who is denied something says so itself."""
    assert any("avc:  denied" in message.text for message in guest.kernel.log())
    assert guest.kernel.problems() == []


@pytest.mark.parametrize("name", ["sles"], indirect=True)
def test_of_packages_beside_each_other_the_last_counts(guest: RecordedGuest) -> None:
    """Kernels are kept when another is installed."""
    assert guest.services.version("kernel-default") == "6.4.0-150600.23.22.1"


@pytest.mark.parametrize("name", ["sles"], indirect=True)
def test_of_units_beside_each_other_the_one_that_runs_counts(guest: RecordedGuest, tree: Tree) -> None:
    """NetworkManager may be installed where wicked has the network; a unit that is down is still found alone."""

    def shown(unit: str, active: str) -> str:
        return f"Id={unit}\nLoadState=loaded\nActiveState={active}\nSubState=x\nUnitFileState=enabled\n"

    manager, wicked = "NetworkManager.service", "wicked.service"
    tree.commands = {f"systemctl {manager}": shown(manager, "inactive"), f"systemctl {wicked}": shown(wicked, "active")}
    assert guest.services.first([manager, wicked]).name == wicked
    tree.commands = {f"systemctl {name}": shown(name, "inactive") for name in (manager, wicked)}
    assert guest.services.first([manager, wicked]).name == manager


@pytest.mark.parametrize("name", ["debian"], indirect=True)
def test_who_else_sets_up_the_network_is_not_guessed(guest: RecordedGuest, tree: Tree) -> None:
    tree.write("/bin/systemctl", "#!/bin/sh\nprintf 'inactive\\n%.0s' 1 2 3 4; exit 3\n", mode=0o755)
    assert guest.services.network() is None
