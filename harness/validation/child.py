"""A round's pytest as a child: it ends with us however we end, and in good order where we are asked to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

from harness.core import LabError
from harness.qemu.process import leashed

_GRACE = timedelta(minutes=15)
"""For the teardown of running tests and the report; then it is killed, and the reaper does the rest."""


class Interrupted(KeyboardInterrupt):
    """We were asked to end.

    Args:
        number: by which signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that shells give it; `git bisect run` stops at anything above 127."""
        return 128 + self.number


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and the end of the terminal end us as Ctrl-C does: by an exception, so that nothing is left half done.

    What was ignored stays ignored by us. But not by children: a script's background command inherits that SIGINT is
    ignored, and its pytest would then never give its guests back. A signal that has a handler here has none there.

    Raises:
        Interrupted: such a signal came.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number))

    def ignore(_: int, __: FrameType | None) -> None:
        pass

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for each, handler in before.items():
            signal.signal(each, ignore if handler is signal.SIG_IGN else interrupt)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run(words: Sequence[str], output: Path, tell: Callable[[str], object]) -> int:
    """Run a program to its end.

    Args:
        words: the program by full path, and its arguments.
        output: gets what it prints.
        tell: told what happens where we are asked to end meanwhile.

    Returns:
        Its exit status; negative: the signal that killed it.

    Raises:
        LabError: it could not start.
        KeyboardInterrupt: we are to end; it has ended.
    """
    with output.open("wb") as file:
        try:
            # A session of its own: Ctrl-C in our terminal is passed on once, by us.
            process = subprocess.Popen(
                leashed(words), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        except OSError as error:
            raise LabError(f"pytest could not start: {error}", operation="validate") from error
    try:
        # No deadline: a round of a night's checks takes hours, and each wait within it has its own.
        return process.wait()
    except KeyboardInterrupt:
        tell("interrupted: pytest gives its guests back; once more ends it at once")
        _end(process, tell)
        raise


def _end(process: subprocess.Popen[bytes], tell: Callable[[str], object]) -> None:
    """As Ctrl-C in a terminal of its own, workers of xdist included."""
    try:
        _signal(process, signal.SIGINT)
        process.wait(_GRACE.total_seconds())
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        _signal(process, signal.SIGKILL)
        process.wait()
        tell("it was killed: `interop reap` gives back what it left, or the next run does")


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
