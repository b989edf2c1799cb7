"""Beginning a night: its cells go into the queue, at once or not at all, and what it is to be beside its results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness import __version__
from harness.core import UsageError
from harness.lab.cordons import cordons
from harness.nights.cells import LeftOut, Plan, Planned, plan
from harness.nights.models import Cell, Night, plain
from harness.nights.place import Place
from harness.nights.queue import CELL, Queued, last_of, queue_of, queued

if TYPE_CHECKING:
    from procrastinate import App

_DONE = ("done", "cancelled")


@dataclass(frozen=True, slots=True)
class Started:
    """A night that has begun.

    Args:
        name: its name: the file's, and when it began.
        until: when it is over (UTC).
        plan: its cells.
        withdrawn: cells of earlier nights that still waited, and were taken from the queue.
    """

    name: str
    until: datetime
    plan: Plan
    withdrawn: tuple[Queued, ...] = ()


def planned(night: Night, app: App | None = None, now: float = 0.0) -> Plan:
    """What a night comes to if it begins now.

    Args:
        night: which.
        app: the queue, which knows what the last night did not get to; None: nobody is asked.
        now: seconds since the epoch.
    """
    closed: dict[str, str] = {}
    unreached: tuple[Cell, ...] = ()
    if app is not None:
        with cordons(night.lab) as found:
            closed = {host: str(cordon) for host, cordon in found.all().items()}
        last = last_of(night.name, queued(app, night.lab, now))
        unreached = tuple(one.cell for one in last if one.state not in _DONE)
    return plan(night, cordoned=closed, unreached=unreached)


def start(app: App, night: Night, moment: datetime) -> Started:
    """Queue a night.

    Args:
        app: the queue.
        night: which.
        moment: now, or when it was due: it is called after that.

    Raises:
        UsageError: it has begun already, or has no cells.
        LabError: the place of its results cannot be written.
    """
    from procrastinate.exceptions import AlreadyEnqueued  # noqa: PLC0415 - an extra: only nights need it

    name = f"{night.name}-{moment.astimezone(UTC):%Y%m%d-%H%M}"
    now = moment.timestamp()
    until = moment.astimezone(UTC) + night.file.budget
    known = queued(app, night.lab, now)
    if any(one.night == name for one in known):
        raise UsageError(f"{name} has begun already", hint="`interop night status` shows it")
    found = planned(night, app, now)
    if not found.planned:
        raise UsageError(f"{night.path}: no cell is left of it", hint="`interop night plan` says why")
    withdrawn = tuple(_withdraw(app, night, known))
    Place(night.file.results).put_night(name, _said(night, name, moment, until, found))
    queue = queue_of(night.lab)
    jobs = [
        app.configure_task(
            CELL,
            queue=queue,
            lock=f"{queue}/{one.cell.host}",  # one job at a time on a host, whichever controller has it
            queueing_lock=f"{name}/{one.cell.name}",
            priority=one.priority,
            task_kwargs=_order(night, name, until, one),
        ).job
        for one in found.planned
    ]
    try:
        app.job_manager.batch_defer_jobs(jobs)  # one statement: all of them, or none
    except AlreadyEnqueued as error:
        raise UsageError(f"{name} has begun already", hint="`interop night status` shows it") from error
    return Started(name, until, found, withdrawn)


def _withdraw(app: App, night: Night, known: list[Queued]) -> list[Queued]:
    """What still waits of this night's earlier dates: it goes first now, and would run twice."""
    waiting = [one for one in known if one.state in ("waiting", "unreached") and _base(one.night) == night.name]
    return [one for one in waiting if app.job_manager.cancel_job_by_id(one.job)]


def _base(name: str) -> str:
    return name.rsplit("-", 2)[0]


def _order(night: Night, name: str, until: datetime, one: Planned) -> dict[str, object]:
    """What a worker needs to know, so that it has to have the lab file and no night file."""
    file = night.file
    return {
        "night": name,
        "harness": __version__,
        "cell": plain(one.cell),
        "until": until.timestamp(),
        "results": file.results,
        "suites": list(file.suites),
        "markers": file.markers,
        "options": list(file.options),
        "attempts": file.attempts,
    }


def _said(night: Night, name: str, moment: datetime, until: datetime, found: Plan) -> dict[str, object]:
    return {
        "format": 1,
        "night": name,
        "lab": night.lab.name,
        "harness": __version__,
        "begun": moment.astimezone(UTC).isoformat(timespec="seconds"),
        "until": until.isoformat(timespec="seconds"),
        "cells": [
            {**plain(one.cell), "name": one.cell.name, "page": one.cell.page, "priority": one.priority, "why": one.why}
            for one in found.planned
        ],
        "left_out": [_left(one) for one in found.left_out],
    }


def _left(one: LeftOut) -> dict[str, object]:
    return {**plain(one.cell), "name": one.cell.name, "reason": one.reason}
