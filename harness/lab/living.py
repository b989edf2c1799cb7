"""Which runs live, and what they have: asked of the store and the journal, from any process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from harness.lab.journal import entries
from harness.lab.liveness import Liveness
from harness.lab.membership import seen_from_afar
from harness.lab.models import Lab
from harness.lab.sharing import open_shared
from harness.lab.store import Store

_EXCLUSIVE = "quiet"


@dataclass(frozen=True, slots=True)
class Living:
    """A run that lives.

    Args:
        run: its id.
        lab: the lab's name.
        controller: whose it is; empty: this one's.
        started: seconds since the epoch.
        things: by host, how many things stand in the journal as made by it: of this controller's runs alone.
        domains: the capacity domains in which it holds a lease.
        quiet: those that it holds alone, to measure.
    """

    run: str
    lab: str
    controller: str
    started: float
    things: Mapping[str, int] = field(default_factory=dict)
    domains: tuple[str, ...] = ()
    quiet: tuple[str, ...] = ()


def living(store: Store, liveness: Liveness) -> list[Living]:
    """This controller's runs that live, oldest first."""
    return [
        _living(store, row, "", Counter(entry.host for entry in entries(store, run=row["id"])))
        for row in store.rows("SELECT * FROM runs WHERE ended IS NULL AND reaped IS NULL ORDER BY started")
        if row["controller"] == liveness.here and liveness.run(store, row["id"])
    ]


def elsewhere(lab: Lab, liveness: Liveness) -> Iterator[Living]:
    """Runs of other controllers that were heard of lately; none, where the lab has no database.

    Raises:
        LabError: the database cannot be had.
    """
    shared = open_shared(lab)
    if shared is None:
        return
    with closing(shared) as store:
        afar = seen_from_afar(liveness, store)
        rows = store.rows("SELECT * FROM runs WHERE ended IS NULL AND reaped IS NULL ORDER BY started")
        for row in rows:
            if row["controller"] != afar.here and _heard_of(store, afar, row["id"]):
                yield _living(store, row, row["controller"].partition(":")[0], {})


def _heard_of(store: Store, liveness: Liveness, run: str) -> bool:
    members = store.rows("SELECT id FROM members WHERE run = ? AND ended IS NULL", run)
    return any(liveness.member(store, run, row["id"]) for row in members)


def _living(store: Store, row: object, controller: str, things: Mapping[str, int]) -> Living:
    said = dict(row)  # type: ignore[call-overload]
    held = store.rows("SELECT DISTINCT kind, domain FROM leases WHERE run = ? ORDER BY domain", said["id"])
    domains = tuple(dict.fromkeys(one["domain"] for one in held))
    quiet = tuple(one["domain"] for one in held if one["kind"] == _EXCLUSIVE)
    return Living(said["id"], said["lab_name"], controller, said["started"], dict(things), domains, quiet)
