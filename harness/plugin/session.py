"""One run of pytest against a lab: what is opened when the first test asks for a host, and closed at the end."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from harness.backends.model import Firmware
from harness.backends.protocol import LeaseLost, Moved, NotQuiet
from harness.core import Deadline, InteropError, LabError, UsageError
from harness.image import resolve
from harness.image.model import Image
from harness.image.terminal import Bars
from harness.lab import Host, Lab, Lease, Run, connect
from harness.lab.calibration import Calibration
from harness.lab.cordons import Cordoned, cordons
from harness.lab.releases import Prepared, Release, Which
from harness.lab.slots import Slots
from harness.lab.twins import NoTwin
from harness.plugin.away import Notes
from harness.plugin.demand import Demand
from harness.plugin.host_under_test import Column, HostUnderTest
from harness.plugin.lender import Lender
from harness.plugin.options import Options
from harness.plugin.releasing import chosen_image, made_ready, nothing_for
from harness.report.links import repeat_command

_QUIET = timedelta(minutes=30)


class Session:
    """Opens hosts when first asked for; the first failure of a host sticks, so 300 tests don't each wait for it.

    That holds of a host that cannot be opened and of one that goes away later, for all processes of the run.
    """

    def __init__(
        self,
        lab: Lab,
        run: Run,
        options: Options,
        *,
        worker: int,
        progress: Callable[[str], None],
        attend: Callable[[Host, Image], None] | None = None,
        calibration: Calibration | None = None,
        release: tuple[Release, Which] | None = None,
        away: Notes | None = None,
    ) -> None:
        self.lab = lab
        self.calibration = calibration
        self.release = release
        self._prepared: Prepared | None = None
        self.run = run
        self._options = options
        self._image: Image | None = None
        self._worker = worker
        self._progress = progress
        self._attend = attend
        self._away = away or Notes()
        self._columns: dict[str, Column | InteropError] = {}
        self._served: dict[str, str] = {}
        self._activity: Lease | None = None

    @property
    def image(self) -> Image:
        """The run's one image; built on first use."""
        if self._image is None:
            self._image = resolve(chosen_image(self.prepared, self._options.image), progress=Bars())
        return self._image

    @property
    def prepared(self) -> Prepared | None:
        """The run's release, fetched on first use; None where guests are as their image.

        Raises:
            UsageError: a hash is missing or wrong.
            LabError: the archive cannot be reached.
        """
        if self._prepared is None:
            self._prepared = made_ready(self.release, Bars())
        return self._prepared

    def prepare_image(self) -> None:
        """Have release and image now, while a progress bar can be seen; a failure shows again at the first test.

        Raises:
            UsageError: the release's hashes are missing or wrong: no test could say more.
        """
        _ = self.prepared
        try:
            _ = self.image
        except InteropError as error:
            self._progress(f"image {self._options.image}: {error}")

    @property
    def columns(self) -> list[Column]:
        """The hosts opened so far."""
        return [column for column in self._columns.values() if isinstance(column, Column)]

    def column(self, name: str) -> Column:
        """The opened host for a pool's (or, with ``--each-host``, a host's) name.

        Raises:
            Away: it went away, or could not be opened, as an earlier test or another process of the run found.
            LabError: it cannot be opened, and nobody knew so before.
        """
        column = self._columns.get(name)
        if isinstance(column, Column) and self._away.of(column.host.name) is not None:
            self._drop(column)  # another member of its pool may do
            column = None
        if column is None:
            try:
                column = self._columns[name] = self._open(name)
            except InteropError as error:
                gone = [away for member in self._members(name) if (away := self._away.of(member.name))]
                self._columns[name] = gone[0] if gone else error
                raise
        if isinstance(column, InteropError):
            raise column.with_traceback(None)  # or every test adds its own frames to it
        return column

    def moved(self, name: str) -> bool:
        """Whether another host serves this column since this was last asked: fixtures may hold the one before it."""
        host = self.column(name).host.name
        before, self._served[name] = self._served.get(name, host), host
        return before != host

    def opened(self, name: str) -> Column | None:
        """The column, if it is open; opens nothing."""
        column = self._columns.get(name)
        return column if isinstance(column, Column) else None

    def is_down(self, name: str) -> bool:
        """True when there is no host for this column: trying again cannot help."""
        members = self._members(name)
        gone = bool(members) and all(self._away.of(member.name) is not None for member in members)
        return gone or isinstance(self._columns.get(name), InteropError)

    def is_away(self, name: str) -> bool:
        """True when the host that this column had open is gone: nothing can be asked of it."""
        column = self.opened(name)
        return column is not None and self._away.of(column.host.name) is not None

    def look_after(self, name: str, error: BaseException) -> None:
        """After a failure that is the lab's: ask the column's host whether it is there at all.

        It is asked for what it surely can tell: a host that is unreachable, refuses the login or died does not. So one
        test pays for that, and no other.

        Args:
            name: the column.
            error: what failed; one that says itself that the host is there is not looked after.
        """
        column = self.opened(name)
        if column is None or isinstance(error, (LeaseLost, Moved, NotQuiet, UsageError)):
            return
        try:
            for _ in column.host.hypervisor.owned(Deadline.after(self.lab.limits.host), self.run.id):
                return
        except LeaseLost:
            return
        except LabError as silence:
            self._found_away(column.host.name, silence)

    def column_of(self, host: HostUnderTest) -> Column:
        """The column a host under test belongs to."""
        return next(column for column in self.columns if column.host is host)

    def begin_activity(self, name: str) -> None:
        """Say that something runs in this column's capacity domain: nobody measures there meanwhile."""
        self.end_activity()
        self._activity = self.run.leases.activity(self.column(name).settings.domain, Deadline.after(_QUIET))

    def end_activity(self) -> None:
        """Nothing of ours runs any more. Idempotent."""
        if self._activity is not None:
            self._activity.release()
            self._activity = None

    def quiet(self, name: str) -> Lease:
        """Hold the capacity domain of this column alone; own activity ends first, or two who measure wait for ever."""
        self.end_activity()
        return self.run.leases.quiet(self.column(name).settings.domain, Deadline.after(_QUIET))

    def finish(self, lender: Lender, demand: Demand | None, nodeid: str, *, failed: bool) -> None:
        """Take the test's guests back; keep those of a failed one where the user asked for it."""
        for kept in lender.finish(demand, failed=failed, keep=self._options.keep, why=nodeid):
            self._progress(f"kept until {kept.until:%Y-%m-%d %H:%M} UTC: `interop guest ssh {kept.id}`")

    def repeat_command(self, nodeid: str, host: str) -> str:
        """The command line that runs exactly this test again."""
        chosen = self._options.image
        image = self._image.digest if self._image and not (self.release and self.release[0].candidate.image) else chosen
        return repeat_command(
            nodeid,
            lab=self._options.lab,
            host=host,
            image=image,
            release=self.release[0].option(self.release[1]) if self.release else "",
            calibration=str(self._options.calibration or ""),
            firmware="" if self._options.firmware is Firmware.BIOS else self._options.firmware.value,
        )

    def repeat_options(self, host: str) -> list[str]:
        """Pytest's options that choose the same lab, host, image and release again, and judge alike."""
        _, _, *words = shlex.split(self.repeat_command("it", host))
        words += ["--each-host"] if self._options.each_host else []
        return [*words, *(["--known-issues", str(self._options.known_issues)] if self._options.known_issues else [])]

    def close(self) -> None:
        """Give guests back, drop connections, end the run. What fails is left to the reaper and reported first."""
        problems: list[InteropError] = []
        self.end_activity()
        for column in self.columns:
            if self._away.of(column.host.name) is not None:
                self._drop(column)
                continue
            for step in (column.lender.close, column.host.hypervisor.close):
                try:
                    step()
                except InteropError as error:
                    problems.append(error)
        self._columns.clear()
        if problems:
            raise problems[0]

    def _open(self, name: str) -> Column:
        members = self._open_to_us(self._members(name))
        _ = self.prepared, self.image  # what is wrong with these is no host's fault
        found: list[LabError] = []
        known: list[LabError] = []
        for turn in range(len(members)):
            member = members[(turn + self._worker) % len(members)]
            away = self._away.of(member.name)
            if away is not None:
                known.append(away)
                continue
            try:
                return self._open_member(member, name)
            except LabError as error:
                wrong = isinstance(error, (UsageError, NoTwin, LeaseLost))
                if wrong or self._found_away(member.name, error):
                    found.append(error)
                else:
                    known.append(self._away.of(member.name) or error)
        raise [*found, *known][0]

    def _members(self, name: str) -> tuple[Host, ...]:
        return members_of(self.lab, name, self._options.host)

    def _found_away(self, host: str, error: LabError) -> bool:
        """Note it, for everybody; whether nobody had before."""
        first = self._away.put(host, error)
        if first:
            self._progress(f"{self._away.of(host)}; its other tests are left out")
        return first

    def _drop(self, column: Column) -> None:
        """Forget a host that is gone, and its guests with it: to give them back would wait for it once for each."""
        for name, one in list(self._columns.items()):
            if one is column:
                del self._columns[name]
        with suppress(InteropError):
            column.host.hypervisor.close()

    def _open_to_us(self, members: tuple[Host, ...]) -> tuple[Host, ...]:
        """Those that nobody has cordoned off."""
        with cordons(self.lab) as found:
            closed = found.all()
        free = tuple(member for member in members if member.name not in closed)
        if members and not free:
            first = members[0].name
            raise Cordoned(str(closed[first]), host=first, operation="open", hint=f"`interop host uncordon {first}`")
        return free

    def _open_member(self, member: Host, pool: str) -> Column:
        if self._attend is not None:
            self._attend(member, self.image)
        self._progress(f"opening {member.name}")
        hypervisor = connect(member, self.run, self.image)
        prepared = None if nothing_for(self.prepared, member.backend) else self.prepared
        kernel = (prepared.side.kernel if prepared else None) or self.image.labels.get("kernel")
        limits = self.lab.limits
        host = HostUnderTest.reached(member, pool, hypervisor, self.calibration, kernel, within=limits.host)
        slots = Slots(self.run, member, hypervisor, self.image, self._progress, prepared)
        return Column(host, Lender(slots, patience=limits.guest))


def members_of(lab: Lab, column: str, only: str | None) -> tuple[Host, ...]:
    """The hosts that a column of a run may stand for.

    Args:
        lab: the run's lab.
        column: a pool's name; with ``--each-host``, a host's.
        only: the host that was asked for, if one was.
    """
    members = lab.pools().get(column) or tuple(host for host in lab.hosts.values() if host.name == column)
    return tuple(member for member in members if only in (None, member.name))
