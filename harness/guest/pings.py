"""Echo requests and their replies, by ping(8) of iputils."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# The replies of an emulated guest may take this long when its host is busy.
_LATE = timedelta(seconds=5)

# What comes of a request but a reply begins with "From"; a reply that came twice counts once.
_REPLY = re.compile(rb"^\d+ bytes from .*\bicmp_seq=(\d+) (?!.*\(BAD CHECKSUM)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pings:
    """What became of the pings that were asked for."""

    sent: int
    received: int

    @property
    def lost(self) -> int:
        """Requests without a reply."""
        return self.sent - self.received


def parse_pings(data: bytes, count: int) -> Pings:
    """The first ``count`` requests of ping(8), of iputils, and their replies: those after them only passed the time."""
    found = re.search(rb"^(\d+) packets transmitted", data, re.MULTILINE)
    if not found:
        raise ValueError("no summary of ping")
    replies = {int(number) for number in _REPLY.findall(data)}
    return Pings(min(int(found[1]), count), len(replies & set(range(1, count + 1))))


def ping(guest: Guest, target: str, device: str, *, count: int, every: timedelta, whole: int | None) -> Pings:
    """Send echo requests, and count the replies that came.

    By ``-c`` alone ping waits for the last reply no longer than twice the slowest one before it. With ``-w`` it goes on
    asking until it has ``count`` replies, so that a reply to a later request, or seconds without any, tell a lost one
    from a late one. Where nothing answers, that time passes. With ``-U`` it takes the time itself: it would else have
    the kernel stamp all frames that come (``SO_TIMESTAMP``, socket(7)), which rewrites a part of the kernel while
    others run it, and QEMU's emulated CPUs may go on with the old part for ever.

    Args:
        guest: who asks.
        target: an address.
        device: the name of the interface.
        count: how many.
        every: how long between two.
        whole: so many bytes of data in each, which nobody on the way may divide (``-M do``); None: a few.
    """
    span = math.ceil((count * every + _LATE).total_seconds())
    argv = ["ping", "-n", "-U", "-c", str(count), "-i", str(every.total_seconds()), "-w", str(span), "-I", device]
    argv += ["-M", "do", "-s", str(whole)] if whole is not None else []
    argv.append(target)
    result = guest.run(argv, timeout=timedelta(seconds=span + 30), check=False)
    # Status 1 is a lost reply; 2 an error, of which "no route at all" leaves no summary and no reply either.
    if result.status == 2 and b"unreachable" in result.stderr.lower():
        return Pings(count, 0)
    parse = partial(parse_pings, count=count)
    return Probe("ping", tuple(argv), parse, accept=(0, 1)).value(result, guest.name)
