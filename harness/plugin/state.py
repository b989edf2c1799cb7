"""What the plugin knows during one pytest process: options, lab, the run, and every test that asks for a host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.core import InteropError, UsageError
from harness.plugin import interrupts, multiply, outcomes, spread
from harness.plugin.demand import Demand
from harness.plugin.given import Given, or_usage_error
from harness.plugin.order import Place
from harness.plugin.outcomes import Record

if TYPE_CHECKING:  # a stranger's tests in the same run must not pay for these imports
    from harness.image.model import Image
    from harness.lab import Host, Run
    from harness.lab.attend import Attendant
    from harness.lab.limits import Readings
    from harness.plugin.host_under_test import Column, HostUnderTest
    from harness.plugin.lender import Lender
    from harness.plugin.news import News
    from harness.plugin.quiet import Watch
    from harness.plugin.results import Results
    from harness.plugin.scheduling.host_scheduling import HostScheduling
    from harness.plugin.session import Session
    from harness.report.identity import Identity
    from harness.report.layout import RunFolder

KEY: pytest.StashKey[State] = pytest.StashKey()
GROUPS = "groups.json"
NEWS = "news"
AWAY = "away"
"""What a run keeps in its folder of hosts that went away."""


@dataclass(slots=True)
class State(Given):
    """One pytest process's view of the run: what it was given, and what comes of it."""

    places: dict[pytest.Item, Place] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    running: Record | None = None
    readings: Readings | None = None
    """What the running test holds against limits."""
    watch: Watch | None = None
    """What looks at others' work on the host while a test measures there."""
    errors: dict[str, pytest.ExceptionInfo[BaseException]] = field(default_factory=dict)
    """What the phases of the running test failed with."""
    problem: pytest.UsageError | None = None
    """Bad input met while collecting; raised once collection is over, or each module would repeat it."""
    session: Session | None = None
    reaps: bool = True
    """Whether the run removes first what dead runs left: a mere look does not."""
    folder: RunFolder | None = None
    """This run's folder; None until it is known that a lab is involved."""
    results: Results | None = None
    dropped: list[str] = field(default_factory=list)
    """What this process or a worker could not write, in a sentence each."""
    scheduling: HostScheduling | None = None
    """What spreads the run over workers; in xdist's controller alone."""
    _joined: dict[str, int] = field(default_factory=dict)
    """How often each test was tried in the run that this one joins; read before anything is added to it."""
    _run: Run | None = None
    _attendant: Attendant | None = None
    _news: News | None = None
    _mute: set[str] = field(default_factory=set)

    @property
    def run(self) -> Run:
        """The run: begun by the first process that needs it, joined by xdist workers."""
        if self._run is None:
            from harness.lab import Run  # noqa: PLC0415

            shared = self.worker.get("interop")
            if not shared and self.reaps:
                self._clear()
            self._run = Run.join(self.lab, **shared["run"]) if shared else Run.begin(self.lab)
        return self._run

    def _clear(self) -> None:
        """Have removed first what dead runs left on the lab's hosts."""
        from harness.plugin import leftovers  # noqa: PLC0415

        leftovers.clear(self.lab, self.say)

    @property
    def worker(self) -> dict[str, Any]:
        """What xdist's controller told this worker; empty in the main process."""
        return getattr(self.config, "workerinput", {})

    @property
    def is_worker(self) -> bool:
        """True in a worker of xdist."""
        return bool(self.worker)

    @property
    def worker_name(self) -> str:
        """``gw0`` ... in a worker of xdist, else ``main``."""
        return str(self.worker.get("workerid", "main"))

    def identity(self, item: pytest.Item) -> Identity | None:
        """Who the test's result is: check, parameters and pool; None for a stranger's."""
        place = self.places.get(item)
        if place is None:
            return None
        from harness.plugin import sources  # noqa: PLC0415
        from harness.report.identity import Identity, text_of  # noqa: PLC0415

        params = {name: value for name, value in item.callspec.params.items() if name != multiply.HOST}  # type: ignore[attr-defined]
        return Identity(
            check=place.demand.check,
            title=outcomes.title_of(item),
            suite=outcomes.suite_of(item),
            pool=place.column,
            part=place.demand.part,
            parameters=tuple((name, text_of(value)) for name, value in sorted(params.items())),
            thread=self.worker_name if self.is_worker else "",
            test=getattr(item, "originalname", item.name),
            source=sources.digest_of(item),
        )

    def demand(self, item: pytest.Item) -> Demand | None:
        """What the test asks for; None for a stranger's."""
        place = self.places.get(item)
        return place.demand if place else None

    def running_on(self, item: pytest.Item, column: Column) -> None:
        """The running test's host is known now."""
        if self.running is not None:
            self.running.host = column.host.name
            self.running.options = self.open().repeat_options(column.host.name)
        identity = self.identity(item)
        if self.results is not None and identity is not None:
            host = column.host
            self.results.begin(identity.on(host.name, backend=host.backend, twin=host.facts.twin))

    def measure_anew(self) -> None:
        """A test begins: nothing was held against limits yet, and nothing failed."""
        from harness.lab.limits import Readings  # noqa: PLC0415  see TYPE_CHECKING above

        self.readings, self.errors = Readings(), {}

    @contextlib.contextmanager
    def watched(self, host: HostUnderTest) -> Iterator[Watch]:
        """Look at what others do on the host, until the block ends."""
        from harness.plugin.quiet import watch  # noqa: PLC0415  see TYPE_CHECKING above

        main = os.getppid() if self.is_worker else os.getpid()
        try:
            with watch(host, lab=self.lab.path, run=self.run.id, main=main) as self.watch:
                yield self.watch
        finally:
            mute, self.watch = self.watch.mute if self.watch is not None else "", None
            if mute and host.name not in self._mute:
                self._mute.add(host.name)
                self.say(f"{host.name}: whether it is quiet there is not known: {mute}")

    def lender(self, item: pytest.Item) -> Lender | None:
        """The lender of the test's column, if it was opened."""
        place = self.places.get(item)
        if place is None or self.session is None:
            return None
        opened = self.session.opened(place.column)
        return opened.lender if opened else None

    def open(self) -> Session:
        """The session, begun on first use."""
        if self.session is None:
            from harness.plugin.away import Notes  # noqa: PLC0415
            from harness.plugin.session import Session  # noqa: PLC0415

            self.folder = self._folder(self.run.id)
            if self.options.join is None:
                self.folder.make()
            self.config.add_cleanup(interrupts.listen(worker=self.is_worker))
            number = int(self.worker_name.removeprefix("gw")) if self.is_worker else 0
            attend = None if self.is_worker else self.attend
            self.session = Session(
                self.lab,
                self.run,
                self.options,
                calibration=self.calibration,
                release=self.release,
                worker=number,
                progress=self.say,
                attend=attend,
                away=Notes(self.folder.path / AWAY, self.unsaid),
            )
        return self.session

    def attend(self, host: Host, image: Image | None = None) -> None:
        """See to it that the host's twin is up, if it has one. Twins are the main process's, never a worker's.

        Raises:
            LabError: it did not come up.
        """
        if host.twin is None:
            return
        if self._attendant is None:
            from harness.lab.attend import Attendant  # noqa: PLC0415  labs without twins don't pay for it

            self._attendant = Attendant(self.lab, self.run.id, tell=self.say, keep=self.options.keep is not None)
        probe = (image.kernel, image.initrd) if image and image.kernel and image.initrd else None
        self._attendant.attend(host, probe)

    def attend_workers(self) -> None:
        """Have what tests of xdist's workers need, image and twins; a failure shows again where a host is opened."""
        if self.folder is None or self._news is not None:  # strangers' tests alone, or not the first worker
            return
        columns = spread.columns(self.folder.path / GROUPS)
        if not columns:
            return
        from harness.image import resolve  # noqa: PLC0415
        from harness.image.terminal import Bars  # noqa: PLC0415
        from harness.plugin.news import News  # noqa: PLC0415
        from harness.plugin.releasing import chosen_image, made_ready  # noqa: PLC0415

        self._news = News(self.folder.path / NEWS, self.say)
        named = self.options.image
        try:
            prepared = made_ready(self.release, Bars())
            named = chosen_image(prepared, self.options.image)
            image = resolve(named, progress=Bars())
        except InteropError as error:
            self.say(str(error) if isinstance(error, UsageError) else f"image {named}: {error}")
            return
        needed = {
            host.twin: host
            for pool, members in self.lab.pools().items()
            for host in members
            if host.twin and {pool, host.name} & columns
        }
        for host in needed.values():
            try:
                self.attend(host, image)
            except InteropError as error:
                self.say(str(error))

    def share(self) -> dict[str, Any] | None:
        """What an xdist worker needs to join this run; None where the lab cannot be loaded (the worker will say so)."""
        try:
            run = self.run
        except (pytest.UsageError, InteropError):
            return None
        self.config.add_cleanup(interrupts.listen(worker=False))
        # Workers make the folder once they meet a test with a host: a stranger's run leaves no trace.
        self.folder = self._folder(run.id)
        return {"run": run.share(), "folder": str(self.folder.path)}

    def _folder(self, run: str) -> RunFolder:
        from harness.report.layout import RunFolder  # noqa: PLC0415

        shared = self.worker.get("interop")
        return RunFolder(Path(shared["folder"]) if shared else self.options.join or self.options.report_dir / run)

    @property
    def named(self) -> str:
        """What the run is called in results: by its id, or as the run that it joins."""
        if self.options.join is None:
            return self.run.id
        from harness.report.cells import read  # noqa: PLC0415

        return str(or_usage_error(read, self.options.join).run)

    def attempts_before(self, item: pytest.Item) -> int:
        """How often the test was tried in the run that this one joins."""
        identity = self.identity(item)
        if self.options.join is None or identity is None:
            return 0
        if not self._joined:
            from harness.report.cells import read  # noqa: PLC0415

            found = or_usage_error(read, self.options.join).cells
            self._joined = {cell.history: 1 + len(cell.earlier) for cell in found} | {"": 0}
        return self._joined.get(identity.history_id, 0)

    def other_processes(self) -> list[int]:
        """The process ids of this run's workers that take part in it and live."""
        if self._run is None:
            return []
        from harness.lab.liveness import Liveness  # noqa: PLC0415  see TYPE_CHECKING above

        run, store, liveness = self._run, self._run.store, Liveness()
        rows = store.rows("SELECT id, pid FROM members WHERE run = ? AND ended IS NULL", run.id)
        return [row["pid"] for row in rows if row["id"] != run.member and liveness.member(store, run.id, row["id"])]

    def say(self, text: str) -> None:
        """One line to the user past pytest's capture, made :meth:`safe`; long work says what it is doing."""
        text = self.safe(text)
        if self.is_worker:
            if self.folder is not None:
                from harness.plugin.news import send  # noqa: PLC0415

                send(self.folder.path / NEWS, text)
            return
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if reporter is None:
            return
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.ensure_newline()
            writer = self.config.get_terminal_writer()
            if writer.width_of_current_line:  # dots of a run that is spread; the line above knows of none
                writer.line()
            reporter.write_line(f"  {text}", cyan=True)
            reporter.flush()  # into a pipe, as of a CI service, it would wait for the end of the test that it announces

    def close(self) -> InteropError | None:
        """End session and run; the first thing that went wrong, if any."""
        problem: InteropError | None = None
        if self._news is not None:
            self._news.close()
            self._news = None
        for part in (self.session, self._attendant, self._run):
            try:
                if part is not None:
                    part.close()
            except InteropError as error:
                problem = problem or error
        self.session = self._attendant = self._run = None
        return problem

    def place(self, item: pytest.Item) -> Place | None:
        """Where this item belongs, if our ``host`` was parametrized into it."""
        callspec = getattr(item, "callspec", None)
        if callspec is None or multiply.HOST not in callspec.params or not multiply.is_ours(item):
            return None
        column = str(callspec.params[multiply.HOST])
        fixtures = frozenset(getattr(item, "fixturenames", ()))
        from harness.plugin import demand  # noqa: PLC0415

        return Place(column, or_usage_error(demand.of, item, self.options.firmware), fixtures)
