"""What a failure takes with it: console, kernel log and journal since the test began, screenshot, host's description.

Collecting evidence never fails a test and never takes long: what cannot be had is said in the attachment's place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from harness.backends.protocol import HostEvents, LeaseLost, Moved, Screenshot, Unwatched
from harness.backends.views import HELD, MOVED, HostEvent
from harness.core import Deadline, InteropError, LabError
from harness.guest import Guest, Result

# A dead network is an AssertionError, the product's failure; while evidence is collected it is just a way that is shut.
UNAVAILABLE = (InteropError, AssertionError)
_PATIENCE = timedelta(seconds=20)
_LIMIT = 1 << 20
_SHORT = 64  # reads that gave less than was asked for
_WORD = 100
_MARGIN = 2.0
_UPTIME = ("cat", "/proc/uptime")
_LOGS = {
    "kernel log": ("dmesg",),
    "journal": ("journalctl", "--no-pager", "--boot", "--lines=2000", "--output=short-monotonic"),
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """One piece of evidence, as it came: whoever writes it out bounds and escapes it."""

    name: str
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Loan:
    """A guest as it was when a test got it."""

    guest: Guest
    console_from: int
    began: float
    moves: int = 0

    @classmethod
    def of(cls, guest: Guest, clock: Callable[[], float] = time.monotonic) -> Loan:
        """Remember where the guest's console and its host's record stand now.

        Raises:
            LabError: as :func:`record_of`.
        """
        return cls(guest, console_end(guest), clock(), len(_moves(_watched(guest))))

    def stayed(self) -> None:
        """Make sure that the host left the guest's machine alone since.

        Raises:
            Moved: it took it elsewhere, or reset it by itself.
            LabError: it lets it stand still and asks somebody what to do, or its record cannot be read.
        """
        host, record = self.guest.hypervisor.name, _watched(self.guest)
        since = _moves(record)[self.moves :]
        if since:
            raise Moved(
                f"unknown: moved: {since[0].message}",
                host=host,
                hint="keep the cluster from touching the lab's machines: docs/vsphere-host.md",
            )
        held = [event for event in record if event.kind == HELD]
        if held:
            hint = "see to what it asks about on the host, then run again"
            raise LabError(held[-1].message, host=host, operation="look after the guest", hint=hint)


def record_of(guest: Guest) -> tuple[HostEvent, ...]:
    """The host's own record of the machine, oldest first; empty where the host keeps none.

    Raises:
        LabError: it keeps one that cannot be read: whether it moved the machine is not known then.
        LeaseLost: the run is over.
    """
    if not isinstance(guest.machine, HostEvents):
        return ()
    try:
        return guest.machine.events(Deadline.after(_PATIENCE))
    except LeaseLost:
        raise
    except UNAVAILABLE as error:
        raise LabError(
            f"unknown whether {guest.identity.name} was moved: {error}",
            host=guest.hypervisor.name,
            operation="read events",
            hint=getattr(error, "hint", None)
            or "the account must be able to read what the host records of its machines",
        ) from error


def _watched(guest: Guest) -> tuple[HostEvent, ...]:
    """The record, where it would tell of a move: elsewhere nothing is lost where it cannot be read."""
    return () if isinstance(guest.machine, Unwatched) else record_of(guest)


def _moves(record: Iterable[HostEvent]) -> list[HostEvent]:
    return [event for event in record if event.kind == MOVED]


def console_end(guest: Guest) -> int:
    """Length of the console's output so far, in bytes; 0 where the host keeps none."""
    offset = 0
    with suppress(*UNAVAILABLE):
        for piece in _said(guest, 0):
            offset += len(piece)
    return offset


def _said(guest: Guest, offset: int) -> Iterator[bytes]:
    """What the console put out from there on, in pieces. A guest that prints without end is always some bytes ahead."""
    deadline, short = Deadline.after(_PATIENCE), 0
    while short < _SHORT and not deadline.expired:
        piece = guest.machine.console().read(offset, _LIMIT)
        if not piece:
            return
        offset += len(piece)
        short += len(piece) < _LIMIT
        yield piece


def collect(loan: Loan) -> Iterator[Attachment]:
    """Everything worth reading about a failed test's guest, the host's side first: it works when the guest does not."""
    guest, machine = loan.guest, loan.guest.machine
    elapsed = time.monotonic() - loan.began
    label = guest.identity.name
    deadline = Deadline.after(_PATIENCE)
    try:
        yield Attachment(f"{label}: host's description", "application/xml", _bytes(machine.view(deadline).raw))
    except UNAVAILABLE as error:
        yield Attachment(f"{label}: host's description", "text/plain", _bytes(f"not available: {error}"))
    yield _text(f"{label}: serial console", lambda: _console(guest, loan.console_from))
    if isinstance(machine, HostEvents):
        events = machine
        yield _text(
            f"{label}: host events",
            lambda: _bytes("\n".join(f"{e.at.isoformat()} {e.kind}: {e.message}" for e in events.events(deadline))),
        )
    if isinstance(machine, Screenshot):
        try:
            yield Attachment(f"{label}: screenshot", "image/png", machine.screenshot(deadline))
        except UNAVAILABLE as error:
            yield Attachment(f"{label}: screenshot", "text/plain", _bytes(f"not available: {error}"))
    yield from _logs(guest, label, elapsed)


def _logs(guest: Guest, label: str, elapsed: float) -> Iterator[Attachment]:
    """Kernel log and journal since the test began, by ssh or, where the network is what failed, by the console."""
    ways: tuple[Callable[..., Result], ...] = (guest.run, guest.console.run)
    problems = []
    for ask in ways:
        try:
            uptime = float(ask(_UPTIME, timeout=_PATIENCE).text[:_WORD].partition(" ")[0])
        except (*UNAVAILABLE, ValueError) as error:  # a guest that says anything for its uptime tells no log either
            problems.append(str(error))
            continue
        # The guest's own monotonic stamps, so that a test that moved the wall clock still shows the right lines.
        since = uptime - elapsed - _MARGIN
        for title, argv in _LOGS.items():
            yield _text(f"{label}: {title}", partial(_newer, ask, argv, since))
        return
    for title in _LOGS:
        yield Attachment(f"{label}: {title}", "text/plain", _bytes(f"not available: {'; '.join(problems)}"))


def _newer(ask: Callable[..., Result], argv: tuple[str, ...], since: float) -> bytes:
    lines = ask(argv, timeout=_PATIENCE, check=False).stdout.splitlines(keepends=True)
    return b"".join(later(lines, since))


def later(lines: list[bytes], since: float) -> Iterator[bytes]:
    """The lines stamped ``[seconds]`` at or after ``since``; a line without a stamp goes with the one before it."""
    wanted = False
    for line in lines:
        stamp = re.match(rb"\[ *(\d+\.\d+)\]", line)
        if stamp:
            wanted = float(stamp[1]) >= since
        if wanted:
            yield line


def _console(guest: Guest, offset: int) -> bytes:
    """What was said since, as far as it fits: of a flood the beginning and the end, for there it says why."""
    head, tail, missing = bytearray(), bytearray(), 0
    for piece in _said(guest, offset):
        room = _LIMIT // 4 - len(head)
        head += piece[:room]
        tail += piece[room:]
        surplus = max(0, len(tail) - 2 * _LIMIT)
        del tail[:surplus]
        missing += surplus
    return bytes(head + (b"\n[... %d bytes left out here ...]\n" % missing if missing else b"") + tail)


def _bytes(text: str) -> bytes:
    """Also of half surrogates, as which a host may tell what a guest gave it."""
    return text.encode("utf-8", "backslashreplace")


def _text(name: str, read: Callable[[], bytes]) -> Attachment:
    try:
        return Attachment(name, "text/plain", read())
    except UNAVAILABLE as error:
        return Attachment(name, "text/plain", _bytes(f"not available: {error}"))
