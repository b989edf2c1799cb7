"""A process that makes a machine and is killed at a given instant: ``python -m tests.contract.doomed``.

It prints its run's id, and the machine's once there is one. The kill is SIGKILL by itself: nothing is tidied up.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.backends.protocol import Creation, Ledger
from harness.backends.views import ResourceKind
from harness.image import resolve
from harness.lab import Run, load_lab
from tests.contract.backends import BACKENDS
from tests.contract.ledger import Witness
from tests.contract.site import Site

STAGES = ("intended", "made", "noted", "running", "checkpointed", "saved")


class Deadly(Witness):
    """Kills its process between intent and creation, or between creation and its note."""

    def __init__(self, journal: Ledger, stage: str) -> None:
        super().__init__(journal)
        self._stage = stage

    @contextlib.contextmanager
    def creating(self, kind: ResourceKind, name: str) -> Iterator[Creation]:
        """The intent is written, nothing else."""
        with super().creating(kind, name) as creation:
            if self._stage == "intended":
                die()
            yield creation

    def made(self, creation: Creation, kind: ResourceKind, handle: str) -> None:
        """The host has it, the journal has no handle."""
        if self._stage == "made":
            die()
        super().made(creation, kind, handle)


def die() -> None:
    """As ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def tell(word: str) -> None:
    """To whoever waits for our end; unbuffered."""
    os.write(1, f"{word}\n".encode())


def main() -> None:
    """Make, and die."""
    parser = argparse.ArgumentParser()
    parser.add_argument("lab")
    parser.add_argument("host")
    parser.add_argument("image")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    lab = load_lab(asked.lab)
    host = lab.hosts[asked.host]
    run = Run.begin(lab)
    tell(run.id)
    site = Site(lab, host, BACKENDS[host.backend], run, folder=asked.folder, find_image=lambda: resolve(asked.image))
    spec, _ = site.order()
    site.witness = Deadly(run.ledger(host), asked.stage)
    site.reconnect()
    machine: Any = site.make(spec)
    tell(machine.id)
    if asked.stage != "noted":
        machine.start(site.deadline())
    if asked.stage == "checkpointed":
        machine.checkpoint("doomed", site.deadline(), memory=True)
    if asked.stage == "saved":
        machine.save(site.deadline())
    die()


if __name__ == "__main__":
    main()
