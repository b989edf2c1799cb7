"""The guest image on a machine of the engine: found by ssh, told of by its agent, and kept with its memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncssh
import pytest

from harness.core import Deadline, GiB
from harness.core.waiting import Pending, wait_for
from harness.image import Image
from harness.image.keys import KeyPair, generate
from harness.image.seed import SeedNic, SeedSpec, write_seed
from harness.twins.engine import Disk, EngineMachine, GuestSilent, MachineState, Nic, ToolsView
from tests.twins.engine.conftest import Heard, await_state, hardware, opened

MAC, PEER = "00:50:56:00:7e:01", "00:50:56:00:7e:02"
INSIDE, OUTSIDE = "10.78.126.1", "127.78.126.1"
BOOT = 600.0


class Login:
    """Logs in by the key that the seed brought, on a host whose key it brought too."""

    def __init__(self) -> None:
        self.host: KeyPair = generate()
        self.user: KeyPair = generate()

    def run(self, command: str, *, seconds: float = 120) -> str:
        """What a command says, once somebody lets us in."""

        def said() -> str | Pending:
            try:
                return asyncio.run(self._run(command))
            except (OSError, asyncssh.Error, TimeoutError) as error:
                return Pending(repr(error))

        return wait_for("ssh", said, Deadline.after(seconds), every=0.5)

    async def _run(self, command: str) -> str:
        known = asyncssh.import_known_hosts(f"[{OUTSIDE}]:2222 {self.host.public}\n")
        keys = [asyncssh.import_private_key(self.user.private)]
        options = {"username": "root", "client_keys": keys, "known_hosts": known, "config": None}
        async with asyncssh.connect(OUTSIDE, 2222, connect_timeout=5, login_timeout=20, **options) as line:
            return str((await line.run(command, timeout=120)).stdout).strip()


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
def guest(image: Image, login: Login, tmp_path) -> Iterator[EngineMachine]:
    """A guest whose seed is in its drive, being started."""
    nics = (SeedNic(MAC, f"{INSIDE}/16"), SeedNic(PEER, "10.79.126.1/24"))
    seed = write_seed(SeedSpec("i-1", "twin-guest", nics, login.host, (login.user.public,)), tmp_path / "seed.iso")
    engine = opened(tmp_path / "engine", Heard())
    system = Disk(tmp_path / "system", int(image.virtual_size), image.qcow2)
    parts = {"disks": (system,), "cdrom": seed, "nics": (Nic(MAC, "nat"), Nic(PEER, "peers"))}
    machine = engine.add("vm-1", hardware("debian", vcpus=2, memory=GiB, **parts))
    machine.power_on()
    yield machine
    engine.close()


def tools(machine: EngineMachine) -> ToolsView:
    """What they tell, once they do."""

    def told() -> ToolsView | Pending:
        view = machine.tools()
        return view if view.running else Pending(view.detail)

    return wait_for("the tools", told, Deadline.after(120), every=0.5)


def test_the_image_runs_as_a_guest_of_vmware(guest, login):
    assert login.run("systemd-detect-virt", seconds=BOOT) == "vmware"
    view = tools(guest)
    assert (view.hostname, view.os_id) == ("twin-guest", "debian")
    assert INSIDE in view.addresses[MAC]
    assert view.version == login.run("dpkg-query -W -f='${Version}' open-vm-tools").partition(":")[2].partition("-")[0]

    guest.snapshot("idle", memory=True)
    login.run("systemctl mask open-vm-tools; sync")
    assert "is masked" in guest.tools().detail
    with pytest.raises(GuestSilent):
        guest.guest_shutdown()

    guest.revert("idle")
    booted = login.run("cat /proc/sys/kernel/random/boot_id; systemctl is-enabled open-vm-tools")
    assert booted.endswith("enabled")
    guest.suspend()
    guest.power_on()
    assert login.run("cat /proc/sys/kernel/random/boot_id") == booted.split()[0]
    assert tools(guest).hostname == "twin-guest"

    guest.guest_shutdown()
    await_state(guest, MachineState.OFF, BOOT)
