"""Files from the controller to the host, in pieces through WinRM: for seeds, and where the host cannot fetch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.steps import Step, Value
from harness.core import Deadline, LabError

PIECE = 210_000
"""Bytes a request carries: with base64 twice and the envelope below the 500 kB that hosts take, in one Send."""


def send(host: HostAccess, source: Path, target: str, deadline: Deadline) -> None:
    """Write ``source`` to ``target`` on the host, over whatever is there, a request a piece.

    Raises:
        LabError: it cannot be read here or written there.
    """
    host.agents.run("upload", [but_last(host, source, target, deadline)], deadline, repeatable=True)


def but_last(host: HostAccess, source: Path, target: str, deadline: Deadline) -> Step:
    """The same but for the last piece, which is returned: it goes along with what is to be done with the file.

    No more than two pieces are held in memory.

    Raises:
        LabError: it cannot be read here or written there.
    """
    coming = pieces(host, source, target)
    last = next(coming)
    for piece in coming:
        host.agents.run("upload", [last], deadline, repeatable=True)
        last = piece
    return last


def pieces(host: HostAccess, source: Path, target: str) -> Iterator[Step]:
    """What writes ``source`` to ``target``, a step a piece; one step for an empty file.

    Raises:
        LabError: it cannot be read here.
    """
    done = 0
    try:
        with source.open("rb") as file:
            while (piece := file.read(PIECE)) or not done:
                args: dict[str, Value] = {"Path": target, "Offset": done, "Data": piece}
                yield Step("Add-InteropChunk", args, get=("Length",))
                done += len(piece)
                if not piece:
                    break
    except OSError as error:
        raise LabError(f"{source} cannot be read: {error}", host=host.name, operation="upload") from error
