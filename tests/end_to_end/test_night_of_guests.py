"""A night of real guests, three columns and three workers, one of which is killed while its guest is up.

Three emulated guests boot beside each other: by night alone (``INTEROP_NIGHTS=all``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core import Deadline, Pending, wait_for
from harness.nights.merge import Became, merged
from harness.nights.place import Place
from tests import postgresql
from tests.unit.night_lab import NightLab

pytestmark = pytest.mark.skipif(
    os.environ.get("INTEROP_NIGHTS") != "all", reason="INTEROP_NIGHTS=all boots three guests at once, for a night"
)
CHECKOUT = Path(__file__).resolve().parents[2]
COLUMNS = ("kvm", "vsphere", "hyperv")
LAB = """
hosts:
  kvm: {{backend: kvm}}
  vsphere: {{backend: vsphere, twin: true, networks: {{management: vm-network}}}}
  hyperv: {{backend: hyperv, twin: true, networks: {{management: hv-lan}}}}
networks:
  management: {{kind: user}}
  vm-network: {{kind: network, source: VM Network, subnet: 10.78.0.0/16, nat: 127.78.0.0/16, ssh_port: 2222}}
  hv-lan: {{kind: network, source: LAN, subnet: 10.80.0.0/16, nat: 127.79.0.0/16, ssh_port: 2222}}
database: {url}
limits: {{heartbeat: 2s, silence: 20s}}
"""
SUITE = '''
import pathlib, time

HERE = pathlib.Path(__file__).parent


def test_a_guest_that_is_held(guest, host):
    """Notes which boot it saw, and stands still where the test of the night wants it to."""
    with (HERE / f"seen-{host.name}").open("a") as file:
        file.write(f"{guest.boot_id}\\n")
    while (HERE / f"hold-{host.name}").exists():
        time.sleep(0.1)
    assert guest.run(["true"])
'''
SHIPPED = ("test_the_hypervisor_is_recognised", "test_the_guest_runs_the_very_image")
WORDS = " or ".join(("test_a_guest_that_is_held", *SHIPPED))


@pytest.fixture
def lab() -> Iterator[NightLab]:
    """A lab of three columns with a database; its folder has a short name, for sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="in-", dir="/tmp"))
    try:
        with postgresql.server() as server:
            lab = NightLab(folder, server.database())
            lab.lab.write_text(LAB.format(url=lab.url))
            (lab.folder / "suite" / "test_tiny.py").write_text(SUITE)
            yield lab
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def workers(lab: NightLab) -> Iterator[dict]:
    """By number; none outlives the test."""
    started: dict = {}
    yield started
    for worker in started.values():
        worker.kill()
        worker.wait()


def settled(lab: NightLab, night: str) -> dict[str, Became]:
    """The cells, by host, once each of them is done."""

    def seen() -> dict[str, Became] | Pending:
        cells = merged(Place(str(lab.results)), night).cells
        states = {cell.name.partition("/")[0]: cell for cell in cells}
        return states if {cell.state for cell in cells} == {"done"} else Pending(f"{states}\n{lab.log()}")

    return wait_for("the night to be done", seen, Deadline.after(1800), every=1.0)


def emulators() -> set[str]:
    """QEMU's processes on this machine."""
    return {entry.parent.name for entry in Path("/proc").glob("[0-9]*/exe") if "qemu-system" in _target(entry)}


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""


def test_a_night_of_guests_loses_nothing_though_a_worker_is_killed(lab, workers):
    """Its cell is run again in a guest of its own, what it had is brought later, and no guest is left."""
    before = emulators()
    settings = ["-p", "no:cacheprovider", "--rootdir", str(CHECKOUT), "-c", str(CHECKOUT / "pyproject.toml")]
    lab.night(
        pools=list(COLUMNS),
        images=["debian12"],
        suites=[str(lab.folder / "suite"), str(CHECKOUT / "suites")],
        options=[*settings, "-k", WORDS],
    )
    suite = lab.folder / "suite"
    (suite / "hold-kvm").touch()
    night = lab.interop("night", "start", str(lab.folder / "tiny.yaml")).splitlines()[-1].split(":")[0]
    workers |= {number: lab.worker(number) for number in (1, 2, 3)}
    noted = suite / "seen-kvm"

    def up() -> bool | Pending:
        return (noted.exists() and noted.stat().st_size > 0) or Pending(lab.log())  # it is there before it is written

    wait_for("the guest to be up", up, Deadline.after(900), every=0.5)
    place = Place(str(lab.results))
    victim = place.attempts(night)["kvm/bios/debian12/none"][1]["begun"]["worker"]
    (killed,) = [number for number, one in workers.items() if str(one.pid) == victim.rpartition("/")[2]]
    workers[killed].kill()
    workers[killed].wait()
    (suite / "hold-kvm").unlink()
    cells = settled(lab, night)

    assert [(one.number, one.status) for one in cells["kvm"].attempts] == [(1, "gone"), (2, "done")]
    assert [len(cells[name].attempts) for name in ("vsphere", "hyperv")] == [1, 1]
    for name, cell in cells.items():
        assert cell.counted.counts == {"tests": 3, "failures": 0, "errors": 0, "skipped": 0}, name
    seen = {name: (suite / f"seen-{name}").read_text().split() for name in COLUMNS}
    assert {name: len(boots) for name, boots in seen.items()} == {"kvm": 2, "vsphere": 1, "hyperv": 1}
    assert len({boot for boots in seen.values() for boot in boots}) == 4, "each ran in a guest of its own"

    # What the killed one had is on its disk until a worker starts there again, and in its journal until it is reaped.
    workers[killed] = lab.worker(killed, "--once")
    assert workers[killed].wait(300) == 0, lab.log()
    assert [one.status for one in settled(lab, night)["kvm"].attempts] == ["lost", "done"]
    reap = [sys.executable, "-m", "harness.cli", "reap", "--lab", str(lab.lab)]
    told = []
    for words in ([], ["--warm"], ["--warm"]):
        argv, env = [*reap, *words], lab.environment(f"state{killed}")
        done = subprocess.run(argv, cwd=lab.folder, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(done.stdout)
    assert " removed " in told[1], "the slots that a later run would start from, which nobody could after this"
    assert " removed " not in told[2], told[2]
    for worker in workers.values():
        worker.terminate()
        worker.wait(120)
    assert emulators() <= before
