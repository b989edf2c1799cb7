"""The guest's kernel: its version, its command line, and what it complains of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Message:
    """One record of the kernel's log.

    Args:
        sequence: its number since boot; grows by one.
        since_boot: when it was written, by the kernel's own clock.
        priority: syslog severity, 0 (emergency) to 7 (debug); facility is dropped.
        text: the message, control characters escaped.
    """

    sequence: int
    since_boot: timedelta
    priority: int
    text: str

    def __str__(self) -> str:
        return f"[{self.since_boot.total_seconds():12.6f}] {self.text}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log of one boot."""

    boot_id: str
    sequence: int


class Selinux(StrEnum):
    """Whether the kernel forbids what no SELinux policy allows: selinux(8)."""

    ENFORCING = "enforcing"
    PERMISSIVE = "permissive"
    """It only writes down what it would forbid."""
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind of message that no action on a healthy guest may cause."""

    name: str
    pattern: re.Pattern[str]


TROUBLES = tuple(
    Trouble(name, re.compile(pattern))
    for name, pattern in (
        ("call trace", r"Call Trace:"),
        ("kernel bug", r"\bBUG:|kernel BUG at"),
        ("soft lockup", r"soft lockup"),
        ("hard lockup", r"hard LOCKUP"),
        ("hung task", r"blocked for more than \d+ seconds|hung_task"),
        ("RCU stall", r"rcu\w* (?:detected|self-detected) .*stall"),
        ("oops", r"\bOops\b|general protection fault|unable to handle (?:kernel|page fault)"),
        ("panic", r"Kernel panic"),
        ("I/O error", r"I/O error|EXT4-fs error|XFS .* [Cc]orruption"),
    )
)


def parse_log(data: bytes) -> tuple[Message, ...]:
    """Records of ``/dev/kmsg`` (kernel, Documentation/ABI/testing/dev-kmsg): ``6,339,5140900,-;text``.

    Lines that begin with a blank belong to the record before and hold its device: they are dropped.
    """
    messages = []
    for line in data.decode("utf-8", "backslashreplace").split("\n"):
        if not line or line.startswith(" "):
            continue
        head, semicolon, text = line.partition(";")
        fields = head.split(",")
        if not semicolon or len(fields) < 3:
            raise ValueError(f"{line[:80]!r} is no record of /dev/kmsg")
        messages.append(Message(int(fields[1]), timedelta(microseconds=int(fields[2])), int(fields[0]) & 7, text))
    return tuple(messages)


_LONGEST_LINE = 8192
"""A kernel's command line has 4096 bytes at most (``COMMAND_LINE_SIZE``); names and versions have fewer."""


def parse_line(data: bytes) -> str:
    """A file that holds one line of text."""
    text = data.decode("utf-8", "backslashreplace").strip()
    if not text or "\n" in text or len(text) > _LONGEST_LINE:
        raise ValueError("one line of text was expected")
    return text


def parse_selinux(data: bytes | None) -> Selinux:
    """``enforce`` of selinuxfs (kernel, security/selinux/selinuxfs.c); no file where SELinux is off."""
    return {None: Selinux.DISABLED, b"0": Selinux.PERMISSIVE, b"1": Selinux.ENFORCING}[data and data.strip()]


def troubles(messages: Sequence[Message], ignore: Sequence[re.Pattern[str]] = ()) -> list[str]:
    """The messages that speak of trouble, each with its kind; those that match ``ignore`` are overlooked."""
    return [
        f"{trouble.name}: {message}"
        for message in messages
        for trouble in TROUBLES
        if trouble.pattern.search(message.text) and not any(pattern.search(message.text) for pattern in ignore)
    ]


# Each read of /dev/kmsg gives one record; at the end a non-blocking read fails with EAGAIN, hence status 1.
LOG = Probe("kernel log", ("dd", "if=/dev/kmsg", "iflag=nonblock", "bs=8192", "status=none"), parse_log, accept=(0, 1))
VERSION = Probe.file("/proc/sys/kernel/osrelease", parse_line)
COMMAND_LINE = Probe.file("/proc/cmdline", parse_line)
SELINUX = Probe.maybe_file("/sys/fs/selinux/enforce", parse_selinux, name="SELinux")
BOOT_ID = Probe.file("/proc/sys/kernel/random/boot_id", parse_line)


class Kernel:
    """The kernel of a guest. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def version(self) -> str:
        """The release, such as ``6.1.0-18-amd64``: ``/proc/sys/kernel/osrelease``."""
        return self._guest.read(VERSION)

    def command_line(self) -> str:
        """What the boot loader passed: ``/proc/cmdline``."""
        return self._guest.read(COMMAND_LINE)

    def selinux(self) -> Selinux:
        """Whether SELinux is enforced: ``/sys/fs/selinux/enforce``, which is not there where SELinux is off."""
        return self._guest.read(SELINUX)

    def log(self, since: Mark | None = None) -> tuple[Message, ...]:
        """The log of this boot that the ring buffer still holds: ``/dev/kmsg``.

        Args:
            since: only what came after; a mark of an earlier boot leaves nothing out.
        """
        if since is None:
            return self._guest.read(LOG)
        boot_id, messages = self._guest.read_all(BOOT_ID, LOG)
        return tuple(message for message in messages if boot_id != since.boot_id or message.sequence > since.sequence)

    def mark(self) -> Mark:
        """Where the log ends now."""
        boot_id, messages = self._guest.read_all(BOOT_ID, LOG)
        return Mark(boot_id, messages[-1].sequence if messages else -1)

    def problems(self, since: Mark | None = None, *, ignore: Sequence[re.Pattern[str]] = ()) -> list[str]:
        """What the log says of traces, bugs, lockups, hung tasks, panics and I/O errors; empty for a healthy guest."""
        return troubles(self.log(since), ignore)

    @contextmanager
    def undisturbed(self, ignore: Sequence[re.Pattern[str]] = ()) -> Iterator[None]:
        """Around an action on the machine: the guest's kernel must not complain of it.

        Args:
            ignore: messages to overlook, such as ``expect.noise``.

        Raises:
            AssertionError: it did; with its words.
        """
        before = self.mark()
        yield
        found = self.problems(before, ignore=ignore)
        assert not found, f"the kernel of {self._guest.name} complained:\n" + "\n".join(found[:20])
