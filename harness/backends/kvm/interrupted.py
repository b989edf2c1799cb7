"""What libvirt of a killed owner was in the middle of, in an embedded root: nobody else would ever end it.

It asks QEMUs what they can do, in places of their own (``lib/qemu/qmp-*``). It writes a file beside the one that it
replaces (``virFileRewrite``). And it starts machines: it makes their places (``qemuProcessPrepareHost``), notes that it
will start them, starts QEMU, and notes its pid (``qemuProcessLaunch``). Places of which there is no note are unknown to
whatever libvirt opens the root next, and stay. With a note and no pid in it, it waits for a QEMU that it does not know,
its machine can neither be stopped nor removed meanwhile, and the QEMU itself stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from harness.backends.kvm.xml import attribute, parse
from harness.core import Deadline, LabError, Pending, wait_for

_PLACES = {"libDir": "lib/qemu", "channelTargetDir": "lib/qemu/channel/target"}
"""Of a running machine: what names them in libvirt's note, and where they are, below a root."""
_CLEARING = 10
"""Seconds that killed QEMUs may take to be gone."""


def end_interrupted(root: Path, alias: Path) -> None:
    """End and remove it all, before libvirt opens the root; whoever calls this is the root's owner.

    Args:
        root: where the root is.
        alias: the name by which libvirt knows it.

    Raises:
        LabError: something cannot be removed, or a QEMU stays.
    """
    roots = (root, alias)
    _clear(roots, [Path("lib/qemu", place.name) for place in root.glob("lib/qemu/qmp-*")])
    for folder in ("etc", "lib", "run"):
        for half in (root / folder).rglob("*.xml.new"):
            half.unlink(missing_ok=True)
    notes = {status: _noted(status) for status in root.glob("run/qemu/*.xml")}
    for status, (places, pid) in notes.items():
        if places and pid == "0":  # where libvirt knows the QEMU, it takes it over, or ends it
            _clear(roots, places)
            status.with_suffix(".pid").unlink(missing_ok=True)
            status.unlink()  # last: who is killed before it leaves all to the next
    if all(places for places, _ in notes.values()):  # or else one of these may be what that note means
        noted = {place for places, _ in notes.values() for place in places}
        there = {place.relative_to(root) for below in _PLACES.values() for place in (root / below).glob("domain-*")}
        _clear(roots, sorted(there - noted))


def _noted(status: Path) -> tuple[list[Path], str | None]:
    """Where a machine keeps its sockets, below its root, and its QEMU's pid; 0 if libvirt does not know that yet."""
    try:
        noted = parse(status.read_text())
    except etree.XMLSyntaxError:
        return [], None  # libvirt tells of it, and does without
    names = [(below, Path(attribute(noted, tag, "path")).name) for tag, below in _PLACES.items()]
    return [Path(below, name) for below, name in names if name.startswith("domain-")], noted.get("pid")


def _clear(roots: tuple[Path, ...], places: list[Path]) -> None:
    """Kill the QEMUs that work in these places, below any of the root's names, and remove the places."""
    marks = [os.fsencode(f"{root / place}/") for root in roots for place in places]

    def cleared() -> Pending | None:
        for pid in list(_qemus(marks)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for place in places:
            try:
                shutil.rmtree(roots[0] / place)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # a QEMU that only began writes there
                    raise LabError(f"{roots[0] / place} cannot be removed: {error}", operation="connect") from error
        there = [str(place) for place in places if (roots[0] / place).exists()]
        there += [f"process {pid}" for pid in _qemus(marks)]
        return Pending(", ".join(there)) if there else None

    if places:
        what = f"what a killed run's libvirt was doing in {roots[0]} to be gone"
        wait_for(what, cleared, Deadline.after(_CLEARING), every=0.02)


def _qemus(marks: list[bytes]) -> Iterator[int]:
    """This user's QEMUs whose command lines name one of the places; one that has ended has no command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended
            command = (entry / "cmdline").read_bytes()
            program = Path(os.fsdecode(command.partition(b"\0")[0])).name.lstrip(".")
            ours = entry.stat().st_uid == os.getuid() and program.startswith("qemu-system")
            if ours and any(mark in command for mark in marks):
                yield int(entry.name)
