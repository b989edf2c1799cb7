"""Whether it is quiet while a test measures: others' work on the host is looked at before, meanwhile and after."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harness.backends.protocol import HostLoad, NotQuiet
from harness.backends.views import ProcessorTimes, ProcessorUse
from harness.core import Deadline, InteropError, LabError, paths
from harness.core.waiting import pause
from harness.lab import THIS_MACHINE, Host
from harness.lab.foreign import WINDOW, Foreign, ForeignLog, limit_of
from harness.lab.own_work import OwnWork
from harness.lab.twins import find

if TYPE_CHECKING:
    from harness.plugin.host_under_test import HostUnderTest

_EVERY = 1.0  # seconds between two looks at counters; one costs this machine some milliseconds
_LEAST = 1.0  # seconds to look at: counters of ticks tell nothing of less
_PATIENCE = timedelta(seconds=20)

Look = Callable[[], "ProcessorTimes | ProcessorUse"]


class Watch:
    """Looks at a host's load, in a thread of its own, until the ``with`` block ends.

    Args:
        host: the lab's name of the host.
        look: reads the load; None: this host does not tell.
        limit: percent that others may use; None: whatever they use is kept, and held against nothing.
        asked: the lab file sets the limit: then a host must tell. The limit that hosts have by default binds those that
            can.
    """

    def __init__(self, host: str, look: Look | None, limit: float | None, *, asked: bool = True) -> None:
        self._host = host
        self._look = look
        self.limit = limit
        """Percent of the processors that others may use; None: held against nothing."""
        self._asked = asked
        self._told = False
        self._every = _EVERY
        self._log = ForeignLog()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._problem: InteropError | None = None
        self._thread = threading.Thread(target=self._go_on, name=f"load-{host}", daemon=True)

    def __enter__(self) -> Self:
        if self._look is not None:
            self._take()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE.total_seconds())

    def so_far(self) -> Foreign | None:
        """What others did until now; None where the host does not tell."""
        self._take()
        with self._lock:
            return self._log.so_far()

    @property
    def mute(self) -> str:
        """Why the host never told anything; empty where it did, or where nobody can ask."""
        return "" if self._told or self._problem is None else self._problem.message

    def judge(self) -> None:
        """The test is over.

        Raises:
            NotQuiet: others did more than the lab allows.
            LabError: there is a limit, and the host does not tell what they did.
        """
        if self.limit is None or (self.mute and not self._asked):
            return
        if self._look is None:
            raise LabError(
                "unknown whether it was quiet: this host does not tell how busy its processors are",
                host=self._host,
                operation="load",
                hint="take foreign_load out of the lab file for it",
            )
        if self._log.seconds < _LEAST and self._problem is None:
            pause(_LEAST)
        found = self.so_far()
        if self._problem is not None:
            raise LabError(
                f"unknown whether it was quiet: {self._problem.message}",
                host=self._host,
                operation="load",
                hint=self._problem.hint,
            ) from self._problem
        if found is not None and 100 * found.worst > self.limit:
            raise NotQuiet(
                f"unknown: not quiet: {told(found)}; the lab allows {self.limit:g} %",
                host=self._host,
                hint="see what else runs on the host, or set foreign_load in the lab file: docs/spreading.md",
            )

    def _go_on(self) -> None:
        while not self._over.wait(self._every):
            self._take()

    def _take(self) -> None:
        """One look; one that fails is made good by the next, for counters go on meanwhile."""
        if self._look is None or self._over.is_set():
            return
        with self._lock:
            try:
                reading = self._look()
            except (InteropError, OSError) as error:
                self._problem = error if isinstance(error, InteropError) else LabError(str(error))
                return
            self._problem, self._told = None, True
            self._log.add(reading)
            if isinstance(reading, ProcessorUse):
                self._every = reading.span  # it tells nothing new before


def told(found: Foreign) -> str:
    """In words: ``others used 35 % of 16 processors in the worst 5 s, 12 % of them in all 63 s``."""
    mean = f"{100 * found.mean:.0f} %"
    if found.seconds <= WINDOW:
        return f"others used {mean} of {found.processors} processors for {found.seconds:.1f} s"
    return (
        f"others used {100 * found.worst:.0f} % of {found.processors} processors in the worst {WINDOW:g} s, "
        f"{mean} in all {found.seconds:.0f} s"
    )


def watch(host: HostUnderTest, *, lab: Path, run: str, main: int) -> Watch:
    """What watches a host.

    Args:
        host: the host.
        lab: the lab's file.
        run: the run's id.
        main: the run's first process, whose descendants are the run's.
    """
    settings = host.settings
    limit = limit_of(settings, host.facts)
    if settings.domain == THIS_MACHINE:
        return Watch(host.name, _here(settings, lab, run, main).read, limit)
    hypervisor = host.hypervisor
    if not isinstance(hypervisor, HostLoad):
        # Where the lab itself sets no limit, a host that cannot tell is one like before.
        return Watch(host.name, None, settings.foreign_load)
    asked = settings.foreign_load is not None
    return Watch(host.name, lambda: hypervisor.load(Deadline.after(_PATIENCE)), limit, asked=asked)


def _here(settings: Host, lab: Path, run: str, main: int) -> OwnWork:
    """This machine, as far as it is not this run's own: twins that outlive runs are, and guests that left the tree."""
    roots = {main, os.getpid()}
    twin = find(lab, settings.twin, run) if settings.twin else None
    if twin is not None:
        roots.add(twin.pid)
    marks = [f"{paths.cache() / 'hosts'}{os.sep}", f"{paths.state() / 'switch'}"]
    root = getattr(settings.settings, "root", None)  # of an embedded hypervisor that the lab file gives a place
    return OwnWork(frozenset(roots), (*marks, str(root)) if root else tuple(marks))
