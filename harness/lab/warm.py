"""Warm slots that survive their run, on disk: which machine, whose identity, and what it was made from.

Only embedded hosts have them. The machine and its checkpoint are the backend's; here is what the harness itself must
know to use them again: the guest's identity, and everything that a saved memory depends on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness import __version__
from harness.backends.model import Shape
from harness.backends.views import HostFacts
from harness.core import LabError, Size
from harness.image import Image
from harness.lab.models import Host

# Raised when a seed or an idle guest looks different from before, so that older checkpoints are not used again.
LAYOUT = 1

CHECKPOINT = "warm"
SHELF = "slots"
"""The folder, in a host's scratch, that guests' keys, seeds and records are in."""

# Of HostFacts.details: what says where, or how it was found out, not what runs.
_NO_MATTER = {"acceleration", "uri", "host name", "datastore", "cluster rules"}


@dataclass(frozen=True, slots=True)
class Record:
    """One warm slot.

    Args:
        name: the guest's name, and its folder's.
        machine: the host's identity of the machine.
        machine_id: the guest's ``/etc/machine-id``.
        host_key: the guest's public host key.
        wanted: digest of image, shape and release: who may use it.
        made_with: digest of host and harness: while it can be used at all.
        memory: RAM of the shape: a checkpoint is about that large at most.
        used: when it was last lent, seconds since the epoch.
        installed: what was seen when a release was installed in it; None where it is as its image.
    """

    name: str
    machine: str
    machine_id: str
    host_key: str | None
    wanted: str
    made_with: str
    memory: int
    used: float
    installed: Mapping[str, Any] | None = None


class Shelf:
    """The records of one host, a folder each beside the guest's key.

    Args:
        folder: where.
        now: the wall clock.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._now = now

    def records(self) -> Iterator[Record]:
        """All that can be read, least recently used first."""
        found = [record for path in self.folder.glob("*/slot.json") if (record := read_record(path.parent))]
        yield from sorted(found, key=lambda record: record.used)

    def put(self, record: Record) -> Record:
        """Write a record, as used now; whole or not at all.

        Raises:
            LabError: the slot's folder is gone, and its guest's key with it, or cannot be written.
        """
        record = replace(record, used=self._now())
        path = self.folder / record.name / "slot.json"
        part = path.with_suffix(".part")
        try:
            part.write_text(json.dumps(asdict(record), indent=1))
            part.replace(path)
        except OSError as error:
            hint = "was the cache emptied under this run? Others need room for it: INTEROP_CACHE names another place"
            raise LabError(f"{path.parent}: {error.strerror}", operation="keep a warm slot", hint=hint) from error
        return record

    def drop(self, name: str) -> None:
        """Forget a slot: record, key and seed."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def sweep(self, machines: AbstractSet[str], names: AbstractSet[str], older: timedelta) -> None:
        """Drop what killed processes left: keys and seeds of guests that are no more.

        Args:
            machines: those that are warm slots; a record of another one is of no use.
            names: kept guests: their keys are needed.
            older: what is younger may belong to a run that lives.
        """
        for path in self.folder.glob("*"):
            record = read_record(path)
            needed = path.name in names or (record is not None and record.machine in machines)
            if not needed and self._now() - path.stat().st_mtime > older.total_seconds():
                self.drop(path.name)


def surplus(records: list[Record], *, most: int, memory: Size) -> list[Record]:
    """Which records must go so that the rest keeps within ``most`` slots and ``memory`` in all: the longest unused.

    Args:
        records: of one host, in any order.
        most: how many may stay.
        memory: how much RAM those may have together.
    """
    kept, taken = 0, 0
    gone = []
    for record in sorted(records, key=lambda each: each.used, reverse=True):
        if kept < most and taken + record.memory <= memory:
            kept, taken = kept + 1, taken + record.memory
        else:
            gone.append(record)
    return gone


def wanted(image: Image, shape: Shape, host: Host, release: str = "") -> str:
    """What a slot must have been made for: image, shape, the networks that its addresses are of, and a release.

    Args:
        image: what it boots.
        shape: what it is like.
        host: where it is.
        release: digest of what is installed in it; empty: it is as its image.
    """
    networks = {name: network.model_dump(mode="json") for name, network in sorted(host.networks.items())}
    purpose = {"image": image.digest, "shape": asdict(shape), "networks": networks}
    return _digest(purpose | ({"release": release} if release else {}))


def made_with(facts: HostFacts) -> str:
    """What a saved memory depends on: hypervisor, its parts and acceleration, and what the harness put into it."""
    details = {name: value for name, value in facts.details.items() if name not in _NO_MATTER}
    return _digest(
        {
            "layout": LAYOUT,
            "harness": __version__,
            "product": facts.product,
            "version": facts.version,
            "build": facts.build,
            "accelerated": facts.accelerated,
            "details": details,
        }
    )


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def read_record(folder: Path) -> Record | None:
    """The record in a guest's folder; None where there is none, or what another version wrote, or half wrote."""
    try:
        return Record(**json.loads((folder / "slot.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
