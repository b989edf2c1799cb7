"""What libvirt of a killed owner was in the middle of, in an embedded root: nobody else would ever end it.

It asks QEMUs what they can do, in places of their own (``lib/qemu/qmp-*``). It writes a file beside the one that it
replaces (``virFileRewrite``). And it starts machines, of which it notes that it will, starts QEMU, and notes its pid
(``qemuProcessLaunch``): a libvirt that opens a root with such a note and no pid in it waits for a QEMU that it does not
know, its machine can neither be stopped nor removed meanwhile, and the QEMU itself stays.
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
    for status in root.glob("run/qemu/*.xml"):
        if places := _places_of_a_start(status):
            _clear(roots, places)
            status.with_suffix(".pid").unlink(missing_ok=True)
            status.unlink()  # last: who is killed before it leaves all to the next


def _places_of_a_start(status: Path) -> list[Path]:
    """Where a machine keeps its sockets, below its root, if libvirt does not know its QEMU yet."""
    try:
        noted = parse(status.read_text())
    except etree.XMLSyntaxError:
        return []  # libvirt tells of it, and does without
    if noted.get("pid") != "0":
        return []  # it takes over the QEMU that it knows, or ends it
    kept = (("libDir", "lib/qemu"), ("channelTargetDir", "lib/qemu/channel/target"))
    names = [(below, Path(attribute(noted, tag, "path")).name) for tag, below in kept]
    return [Path(below, name) for below, name in names if name.startswith("domain-")]


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
