"""Pings that go on while something else is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.guest.pings import Pings

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_AT_ONCE = 10


@dataclass(slots=True)
class Pinging:
    """What was counted; whole when the ``with`` block of :func:`pinging` has been left."""

    pings: Pings = Pings(0, 0)  # noqa: RUF009  a frozen value


@contextmanager
def pinging(guest: Guest, target: str, *, by: str, least: int) -> Iterator[Pinging]:
    """While the block runs, ``guest`` pings ``target`` from its NIC with the MAC ``by``.

    The block begins when the first replies could have come, and when it ends, as many more pings follow as are
    missing from ``least``; none follow where it failed. The guest must not be the one that the block speaks to.

    Raises:
        GuestError: the guest was lost.
    """
    counted, begun, over, failed = Pinging(), threading.Event(), threading.Event(), threading.Event()

    def ping() -> None:
        try:
            while not failed.is_set() and (not over.is_set() or counted.pings.sent < least):
                more = guest.nics.ping(target, by=by, count=_AT_ONCE)
                counted.pings = Pings(counted.pings.sent + more.sent, counted.pings.received + more.received)
                begun.set()
        finally:
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ping)
        try:
            begun.wait()
            yield counted
        except BaseException:
            failed.set()
            raise
        finally:
            over.set()
        running.result()
