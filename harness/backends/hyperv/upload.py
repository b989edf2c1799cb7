"""Files from the controller to the host, in pieces through WinRM: for seeds, and where the host cannot fetch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.steps import Step, Value
from harness.core import Deadline, LabError

PIECE = 210_000
"""Bytes a request carries: with base64 twice and the envelope below the 500 kB that hosts take, in one Send."""


def send(host: HostAccess, source: Path, target: str, deadline: Deadline) -> int:
    """Write ``source`` to ``target`` on the host, over whatever is there; its length.

    Raises:
        LabError: it cannot be read here or written there.
    """
    done = 0
    for step in pieces(host, source, target):
        done = int(host.agents.run("upload", [step], deadline, repeatable=True)[0][0]["Length"])
    return done


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
