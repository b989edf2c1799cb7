"""A process that uses every verb of a host that makes or deletes something, and is killed while it does.

``python -m tests.end_to_end.kills.victim LAB HOST IMAGE``: with ``--at NUMBER WHEN`` it dies at that call, with
``--trace FILE`` it tells what it called, with ``--neighbour`` it makes one machine, starts it, and does what it is told
by lines on its standard input (``look`` or nothing more), as a run does that lives beside others.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.end_to_end.kills.seams import Seams

_VERB = 60


def main() -> int:
    """Do it all; 0 where nobody killed us."""
    parser = argparse.ArgumentParser()
    parser.add_argument("lab")
    parser.add_argument("host")
    parser.add_argument("image")
    parser.add_argument("--at", nargs=2, metavar=("NUMBER", "WHEN"))
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--uefi", action="store_true", help="a second machine, with UEFI: its checkpoints are files")
    asked = parser.parse_args()
    places = tuple(Path(os.environ[name]) for name in ("INTEROP_STATE", "INTEROP_CACHE"))
    at = (int(asked.at[0]), asked.at[1]) if asked.at else None
    seams = Seams(at, asked.trace, places[0] / "interop.sqlite3", places)

    from harness.core import Deadline
    from harness.image.store import Store
    from harness.lab import Run, load_lab
    from harness.lab.connect import connect, scratch
    from harness.lab.making import Maker
    from harness.lab.warm import SHELF, Shelf

    lab = load_lab(asked.lab)
    host = lab.hosts[asked.host]
    image = Store().find(asked.image).image
    if not asked.neighbour:
        {"kvm": seams.watch_libvirt, "vsphere": seams.watch_soap, "hyperv": seams.watch_winrm}[host.backend]()
        seams.watch_files()
    os.write(1, b"begun\n")
    with Run.begin(lab) as run:
        hypervisor = connect(host, run, image)
        maker = Maker(run, host, hypervisor, image, Shelf(scratch(host) / SHELF))
        work = neighbour if asked.neighbour else everything
        try:
            work(maker, lambda: Deadline.after(_VERB), run, host)
            if asked.uefi:
                with_uefi(maker, lambda: Deadline.after(_VERB))
        finally:
            hypervisor.close()
    return 0


def everything(maker: Any, soon: Any, run: Any, host: Any) -> None:
    """The life of a machine without a system, as far as it makes or deletes something; then its end, twice."""
    from harness.backends import protocol
    from harness.backends.model import DiskSpec, Endpoint, Shape
    from harness.core import MiB, Size
    from harness.lab.keep import Kept, KeptGuest

    slot = maker.create("victim", Shape(memory=Size(64 * MiB), data_disks=(Size(8 * MiB),)), soon())
    machine = slot.machine
    more = DiskSpec("more", Size(8 * MiB))
    machine.attach_disk(more, soon())
    machine.checkpoint("cold", soon(), memory=False)
    machine.start(soon())
    machine.attach_disk(DiskSpec("hot", Size(8 * MiB)), soon())
    machine.checkpoint("hot", soon(), memory=True)
    machine.revert("hot", soon())
    if isinstance(machine, protocol.Screenshot):
        machine.screenshot(soon())
    if isinstance(machine, protocol.Savable):
        machine.save(soon())
        machine.restore(soon())
        machine.stop(soon())
        machine.start(soon())
        machine.save(soon())
    machine.stop(soon())
    if isinstance(machine, protocol.NicPlug) and isinstance(machine, protocol.LinkSwitch):
        nic, leases = maker.outfitter.spare(slot.guest.name, 1, Shape(nics=2), soon())
        slot.spare = leases
        machine.attach_nic(nic, soon())
        machine.link(nic.mac, False, soon())
        machine.detach_nic(nic.mac, soon())
    machine.drop_checkpoint("hot", soon())
    machine.revert("cold", soon())
    machine.drop_checkpoint("cold", soon())
    machine.detach_disk(more.serial, soon())
    until = datetime.now(UTC) + timedelta(seconds=-1)  # kept, and its time is over at once
    place = Endpoint("127.0.0.1", 22)
    key = slot.folder / "key"
    kept = KeptGuest(
        *(slot.guest.name, run.lab.path, host.name, machine.id, run.id, until, place, key, slot.folder / "known_hosts"),
        *("nobody", "tried"),
    )
    Kept(run.store).add(kept, slot.held)
    Kept(run.store).release(kept)
    maker.destroy(slot)


def with_uefi(maker: Any, soon: Any) -> None:
    """Variables beside the disks, and where internal snapshots are refused, checkpoints in files of their own."""
    from harness.backends.model import Firmware, Shape
    from harness.core import MiB, Size

    slot = maker.create("victim", Shape(memory=Size(128 * MiB), firmware=Firmware.UEFI), soon())
    slot.machine.start(soon())
    slot.machine.checkpoint("hot", soon(), memory=True)
    slot.machine.revert("hot", soon())
    slot.machine.drop_checkpoint("hot", soon())
    maker.destroy(slot)


def neighbour(maker: Any, soon: Any, run: Any, host: Any) -> None:
    """A machine that runs, for as long as somebody asks after it."""
    from harness.backends.model import Shape
    from harness.core import MiB, Size

    del run, host
    slot = maker.create("neighbour", Shape(memory=Size(64 * MiB)), soon())
    slot.machine.start(soon())
    os.write(1, f"{slot.machine.id}\n".encode())
    for _ in sys.stdin:
        os.write(1, f"{slot.machine.view(soon()).state.value}\n".encode())
    maker.destroy(slot)


if __name__ == "__main__":
    sys.exit(main())
