"""What a hypervisor must show: drivers, clocksources, time service, limits. Data under ``configs/expectations/``.

One file a backend. Its rules are read from top to bottom; every rule that fits the host adds its entries, and a later
entry replaces an earlier one of the same key, so the general stands first and the particular below it. Keys are free:
a lab's own checks may add theirs, with their number in front (``ACME-001.latency``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from time import monotonic
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from harness.backends.model import Firmware
from harness.backends.views import HostFacts
from harness.core import Deadline, LabError, Size
from harness.core.config import StrictModel, load_again, nearest
from harness.lab.limits import Limit, LimitFile, Readings, of_a_check, stopwatch
from harness.lab.rules import rules_of, shipped, span_of

V = TypeVar("V")

KERNEL_MESSAGES = "kernel-messages.yaml"
NEVER = "host.never"
"""The limit, in seconds, by which all comes that ever will."""


def _a_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


class KnownMessage(StrictModel):
    """A kernel message that looks like trouble and is none, or is a known defect of somebody's."""

    pattern: Annotated[str, AfterValidator(_a_regex)]
    """Regular expression, searched for in the message."""
    reason: str
    """Why it may be there."""
    tracker: str | None = None
    """Where the defect is followed."""
    expires: Annotated[date, Field(strict=False)]
    """From this day on the message counts again: somebody must look."""


class KnownMessages(StrictModel):
    """``configs/expectations/kernel-messages.yaml``."""

    known: tuple[KnownMessage, ...] = ()
    """Messages to overlook."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What one host must show in guests of one firmware.

    Args:
        host: who this is about, for messages.
        file: where the values were read.
        shows: words of which the guest must show one, or all.
        sizes: how much checks do.
        limits: what values are held against.
        reasons: why checks cannot be shown here, by their number.
        noise: kernel messages to overlook.
        varied: the sizes that are not those of every host: smaller ones where all is emulated, or a lab's own.
        readings: what is held against these limits, and which sizes are used, is kept there.
    """

    host: str
    file: Path
    shows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: dict[str, int | str] = field(default_factory=dict)
    limits: dict[str, LimitFile] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    noise: tuple[re.Pattern[str], ...] = ()
    varied: frozenset[str] = frozenset()
    readings: Readings = field(default_factory=Readings, compare=False, repr=False)

    @classmethod
    def for_host(
        cls,
        backend: str,
        facts: HostFacts,
        firmware: Firmware,
        *,
        kernel: str | None = None,
        folder: Path | None = None,
        today: date | None = None,
        readings: Readings | None = None,
    ) -> Expectations:
        """Gather every rule that fits.

        Args:
            backend: the backend's name; its file is ``<backend>.yaml``.
            facts: what the host says it is.
            firmware: how the guest starts.
            kernel: the guest's kernel version, where it is known before it runs.
            folder: where the files are; None: the product's ``configs/expectations``.
            today: what known kernel messages are dated against; None: the date of this controller.
            readings: where to keep what is held against limits; None: nobody wants it.

        Raises:
            UsageError: a file cannot be read or holds something wrong, with line and column.
        """
        folder = folder or shipped()
        file = folder / f"{backend}.yaml"
        shows: dict[str, tuple[str, ...]] = {}
        sizes: dict[str, int | str] = {}
        limits: dict[str, LimitFile] = {}
        reasons: dict[str, str | None] = {}
        varied: set[str] = set()
        for rule in rules_of(backend, folder).rules:
            if rule.when.fits(facts, firmware, kernel):
                varied |= {key for key, size in rule.sizes.items() if sizes.get(key, size) != size}
                shows |= rule.shows
                sizes |= rule.sizes
                limits |= rule.limits
                reasons |= rule.unsupported
        standing = {check: reason for check, reason in reasons.items() if reason is not None}
        who = f"{facts.product} {facts.version} ({facts.accelerated}, {firmware.value})"
        noise = known_messages(folder, today)
        kept = Readings() if readings is None else readings
        return cls(who, file, shows, sizes, limits, standing, noise, frozenset(varied), kept)

    def words(self, key: str) -> tuple[str, ...]:
        """The words expected under ``key`` (``virt``, ``clocksources`` ...), which may be none.

        Raises:
            LabError: the file says nothing about it; names file and key.
        """
        return self._need("shows", key, self.shows)

    def word(self, key: str) -> str:
        """The one word expected under ``key``.

        Raises:
            LabError: the file says nothing about it, or not just one word.
        """
        words = self.words(key)
        if len(words) != 1:
            raise LabError(f"{self.file}: shows.{key}: one word is needed for {self.host}, {len(words)} are there")
        return words[0]

    def limit(self, key: str) -> Limit:
        """The limit called ``key`` (``C06.busy``).

        Raises:
            LabError: the file has none; names file and key.
        """
        return Limit(key, self._need("limits", key, self.limits), self.readings)

    def deadline(self, key: str) -> Deadline:
        """The limit called ``key``, which is a time in seconds, counted from now.

        How long the wait took is kept as a value held against it. Where the limit is not calibrated, and so only warns,
        the deadline comes no sooner than ``host.never``: what has not come by then never does, and fails the check.

        Raises:
            LabError: the file has none, or one that is no upper bound in seconds.
        """
        limit = self.limit(key)
        latest = self._seconds(limit)
        if not limit.calibrated:
            latest = max(latest, self._seconds(self.limit(NEVER)))
        return Deadline.after(latest, told=stopwatch(limit, monotonic) if of_a_check(key) else None)

    def _seconds(self, limit: Limit) -> float:
        if limit.at_most is None or limit.unit != "s":
            raise LabError(f"{self.file}: limits.{limit.key}: a deadline needs `at_most` in `unit: s`")
        return limit.at_most

    def count(self, key: str) -> int:
        """How many times a check does something (``N17.pings``).

        Raises:
            LabError: the file does not say.
        """
        value = self._size(key)
        if not isinstance(value, int):
            raise LabError(f"{self.file}: sizes.{key}: {value!r} is not a whole number")
        return value

    def duration(self, key: str) -> timedelta:
        """How long a check does something (``T08.watch: 60 s``).

        Raises:
            LabError: the file does not say.
        """
        value = self._size(key)
        span = span_of(str(value))
        if span is None:
            raise LabError(f"{self.file}: sizes.{key}: {value!r} is not a duration such as `10 s` (ms, s, min, h)")
        return span

    def size(self, key: str) -> Size:
        """How many bytes a check moves (``I05.transfer: 1 GiB``).

        Raises:
            LabError: the file does not say.
        """
        value = self._size(key)
        try:
            return Size.parse(value)
        except ValueError as error:
            raise LabError(f"{self.file}: sizes.{key}: {error}") from error

    def of_sizes(self) -> str:
        """Which set of sizes is in force, in words."""
        differ = len(self.varied)
        return f"{differ} of {len(self.sizes)} other than usual, for this kind of host" if differ else "as usual"

    def of_limits(self) -> str:
        """How far limits are calibrated, in words."""
        warn = sum(not limit.calibrated for limit in self.limits.values())
        return f"{warn} of {len(self.limits)} not calibrated: they only warn" if warn else "all of them hold"

    def unsupported(self, check: str, part: str = "") -> str | None:
        """Why this host cannot show the check of this number, or this part of it; None where it can."""
        return self.reasons.get(check) or (self.reasons.get(f"{check}.{part}") if part else None)

    def _size(self, key: str) -> int | str:
        value = self._need("sizes", key, self.sizes)
        self.readings.sizes[key] = value
        return value

    def _need(self, section: str, key: str, values: dict[str, V]) -> V:
        if key not in values:
            raise LabError(
                f"{self.file}: {section}.{key} is not set for {self.host}{nearest(key, list(values))}",
                hint="add it to a rule that fits this host",
            )
        return values[key]


def known_messages(folder: Path, today: date | None = None) -> tuple[re.Pattern[str], ...]:
    """The kernel messages to overlook today: those of the list that have not expired.

    Raises:
        UsageError: the list cannot be read or holds something wrong.
    """
    file = folder / KERNEL_MESSAGES
    if not file.exists():
        return ()
    day = today or date.today()  # noqa: DTZ011  a day's difference is no matter here
    return tuple(re.compile(entry.pattern) for entry in load_again(file, KnownMessages).known if entry.expires > day)
