"""A counter that goes up once a second inside a guest: it shows whether time passed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core import Deadline, Pending, wait_for
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_UNIT = "interop-ticker"
_FILE = "/run/interop-ticks"
_COUNT = "while sleep 1; do printf . >>/run/interop-ticks; done"

# One byte a tick: a length can never be read half written, as a number could.
TICKS = Probe("ticks", ("stat", "--format", "%s", "--", _FILE), int)


class Ticker:
    """The counter of a guest. Its file is in memory: a checkpoint of the disk alone does not hold it."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def start(self, deadline: Deadline) -> None:
        """Start it as a transient unit, and see it tick.

        Raises:
            GuestError: it could not be started, or never ticked.
        """
        self._guest.files.write(_FILE, b"")
        self._guest.run(["systemd-run", "--quiet", "--unit", _UNIT, "sh", "-c", _COUNT])
        self.wait_beyond(0, deadline)

    def count(self) -> int:
        """How often it has ticked: the length of a file in ``/run``."""
        return self._guest.read(TICKS)

    def put_forward(self, ticks: int) -> int:
        """Count ``ticks`` at once, as if so many seconds had passed.

        Returns:
            How often it has ticked now.

        Raises:
            CommandFailed: the guest could not.
        """
        self._guest.run(["sh", "-c", 'head -c "$1" /dev/zero >>"$2"', "-", str(ticks), _FILE])
        return self.count()

    def wait_beyond(self, count: int, deadline: Deadline) -> int:
        """Wait until it has ticked more often than ``count``.

        Raises:
            AssertionError: it did not by the deadline.
        """

        def ticked() -> int | Pending:
            now = self.count()
            return now if now > count else Pending(f"{now} ticks")

        return wait_for(f"tick {count + 1} in {self._guest.name}", ticked, deadline, fault=AssertionError)
