"""Attending to twins: a run's are started when they are asked for, and end with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from harness.core import InteropError, LabError
from harness.lab import twins
from harness.lab.keep import Kept
from harness.lab.liveness import Liveness
from harness.lab.models import Host, Lab
from harness.lab.run import Run
from harness.lab.store import open_store
from harness.lab.twin_process import Probe, asked, hosts_of, let_go, say_nothing, start, stop, sweep
from harness.lab.twins import NoTwin, Twin, born, find


class Attendant:
    """The twins of one run: started when they are asked for, ended with it.

    A twin that is up already (``interop twin up``) is used as it is, and left.

    Args:
        lab: the lab.
        run: the run's id.
        tell: told, in a line each, what takes long.
        keep: guests may be kept when the run ends; then a twin that has such a guest stays up.
    """

    def __init__(self, lab: Lab, run: str, *, tell: Callable[[str], object] = say_nothing, keep: bool = False) -> None:
        self._lab = lab
        self._run = run
        self._tell = tell
        self._keep = keep
        self._started: dict[str, tuple[Twin, subprocess.Popen[bytes]]] = {}
        self._failed: list[Twin] = []

    def attend(self, host: Host, probe: Probe | None = None) -> None:
        """See to it that the host's twin is up, if it has one; costs nothing where it has none.

        Args:
            host: a host of the lab.
            probe: a kernel to prove acceleration with.

        Raises:
            LabError: it did not come up; the same error again at once for whoever asks later, in any process of the
                run.
        """
        if host.twin is None:
            return
        found = find(self._lab.path, host.twin, self._run)
        if found is not None:
            self._same(found, asked(self._lab, host.twin))
            return
        sweep(open_store(), Liveness())
        try:
            started = start(self._lab, host.twin, run=self._run, stay=self._keep, probe=probe, tell=self._tell)
        except InteropError as error:
            me = os.getpid()
            why = f"{error.message}\n  hint: {error.hint}" if error.hint else error.message
            failed = Twin(
                *(str(self._lab.path), host.twin, self._run, me, born(me) or 0, "", {}),
                error=why,
                impossible=isinstance(error, NoTwin),
            )
            failed.save()
            self._failed.append(failed)
            raise
        self._started[host.twin] = started
        os.environ[twins.OF_RUN] = self._run

    def close(self) -> None:
        """End what was started; a twin with kept guests stays, as if it had been asked for by itself. Idempotent.

        Raises:
            LabError: a twin does not end; the others did.
        """
        problems: list[LabError] = []
        if os.environ.get(twins.OF_RUN) == self._run:
            del os.environ[twins.OF_RUN]
        for section, (twin, process) in self._started.items():
            try:
                if self._keep and self._has_kept(section):
                    self._leave(twin, process)
                else:
                    stop(twin, process)
            except LabError as error:
                problems.append(error)
        for failed in self._failed:
            failed.file.unlink(missing_ok=True)
        self._started.clear()
        self._failed.clear()
        if problems:
            raise problems[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _has_kept(self, section: str) -> bool:
        names = {host.name for host in hosts_of(self._lab, section)}
        return any(guest.lab == self._lab.path and guest.host in names for guest in Kept(open_store()).all())

    def _leave(self, twin: Twin, process: subprocess.Popen[bytes]) -> None:
        """From now on it outlives runs."""
        if not replace(twin, run=None).save(first=True):
            raise LabError("another twin that outlives runs came up meanwhile", host=twin.section, operation="twin")
        twin.file.unlink(missing_ok=True)
        let_go(process)
        self._tell(f"the twin of {twin.section} stays up for kept guests: `interop twin down {twin.section}`")

    def _same(self, twin: Twin, wanted: Mapping[str, Any]) -> None:
        if twin.asked != wanted:
            raise LabError(
                "the twin that is up was started for another content of the lab file",
                host=twin.section,
                operation="twin",
                hint=f"`interop twin down {twin.section}`; a run starts one that fits",
            )


@contextmanager
def attended(
    lab: Lab, hosts: Iterable[Host], *, tell: Callable[[str], object] = say_nothing, probe: Probe | None = None
) -> Iterator[None]:
    """Within the block, the twins of these hosts are up: for commands that are no run of tests.

    A host whose twin did not come up says so when it is opened.

    Args:
        lab: the lab.
        hosts: hosts of it; where none has a twin, nothing happens.
        tell: told, in a line each, what takes long.
        probe: a kernel to prove acceleration with.
    """
    twinned = [host for host in hosts if host.twin is not None]
    if not twinned:
        yield
        return
    with Run.begin(lab) as run, Attendant(lab, run.id, tell=tell) as attendant:
        for host in twinned:
            with suppress(InteropError):
                attendant.attend(host, probe)
        yield
