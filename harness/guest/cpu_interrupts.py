"""Which interrupts reach which CPU of a guest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Interrupts:
    """How often each kind of interrupt has reached each CPU since boot.

    Args:
        cpus: the online CPUs.
        counts: by the line's name (``LOC``, ``RES``, ``24``), how often by CPU. Lines that the kernel counts for the
            whole machine (``ERR``, ``MIS``) have no CPUs.
        words: by the line's name, what the kernel says that it is.
    """

    cpus: frozenset[int]
    counts: Mapping[str, Mapping[int, int]]
    words: Mapping[str, str]

    def since(self, before: Interrupts, line: str) -> dict[int, int]:
        """How often this line's interrupts came to each CPU after ``before``; 0 for a line that is not there."""
        now, then = self.counts.get(line, {}), before.counts.get(line, {})
        return {cpu: now.get(cpu, 0) - then.get(cpu, 0) for cpu in sorted(self.cpus)}

    def total(self, lines: Iterable[str], before: Interrupts, cpus: Iterable[int]) -> int:
        """How often any of these lines' interrupts came to these CPUs after ``before``."""
        return sum(self.since(before, line)[cpu] for line in lines for cpu in cpus)


@dataclass(frozen=True, slots=True)
class PingPong:
    """Two processes on two CPUs that woke each other up in turns.

    Args:
        rounds: how often each woke the other.
        ran_on: the CPUs on which they found themselves.
    """

    rounds: int
    ran_on: tuple[int, int]


def parse_interrupts(data: bytes) -> Interrupts:
    """``/proc/interrupts``, proc(5): one column an online CPU, one line a kind of interrupt."""
    header, *lines = data.decode("ascii", "backslashreplace").splitlines()
    cpus = [int(found) for found in re.findall(r"\bCPU(\d+)\b", header)]
    if not cpus:
        raise ValueError("the first line names no CPU")
    counts: dict[str, dict[int, int]] = {}
    words: dict[str, str] = {}
    for line in lines:
        name, colon, rest = line.partition(":")
        if not colon:
            raise ValueError(f"{line[:80]!r} is no line of interrupts")
        found = re.match(rf"(?:\s+\d+){{{len(cpus)}}}(?=\s|$)", rest)
        fields = found[0].split() if found else []
        counts[name.strip()] = dict(zip(cpus, map(int, fields), strict=False))
        words[name.strip()] = " ".join(rest[found.end() if found else 0 :].split())
    return Interrupts(frozenset(cpus), counts, words)


def parse_ping_pong(data: bytes) -> PingPong:
    """What the program ``ping_pong`` printed."""
    fields = read_json(data)
    first, second = fields["ran_on"]
    return PingPong(int(fields["rounds"]), (int(first), int(second)))


INTERRUPTS = Probe.file("/proc/interrupts", parse_interrupts)
"""How often each kind of interrupt has reached each online CPU: ``/proc/interrupts``."""


def ping_pong(guest: Guest, cpus: tuple[int, int], rounds: int) -> PingPong:
    """Let two processes, pinned to two CPUs, wake each other up so often, with a moment of sleep before each round.

    A CPU that sleeps is woken up by an interrupt that another CPU sends.
    """
    argv = ["python3", "-", str(rounds), *map(str, cpus)]
    result = guest.run(argv, stdin=program("ping_pong"), timeout=timedelta(minutes=2))
    return Probe("ping-pong of two CPUs", tuple(argv), parse_ping_pong).value(result, guest.name)


_WATCHDOG = "/proc/sys/kernel/nmi_watchdog"


def stop_watchdog(guest: Guest) -> None:
    """Have CPUs send themselves no NMIs to see whether they hang: those that come are the host's, then.

    ``/proc/sys/kernel/nmi_watchdog`` (kernel, Documentation/admin-guide/sysctl/kernel.rst), which takes no answer where
    there is none, as without a virtual performance counter.
    """
    if guest.read(Probe.maybe_file(_WATCHDOG, lambda data: (data or b"0").strip() != b"0")):
        guest.run(["tee", _WATCHDOG], stdin=b"0\n")
