"""The guest's CPUs: which there are, how they are grouped, and whether they do any work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_SYSFS = "/sys/devices/system/cpu"

# /proc/stat counts in USER_HZ, which is 100 on every architecture a hypervisor of ours runs (proc(5), kernel's
# include/asm-generic/param.h).
_USER_HZ = 100


@dataclass(frozen=True, slots=True)
class CpuMasks:
    """The kernel's lists of CPUs, read at one moment.

    Args:
        possible: those that could ever appear.
        present: those that are plugged in.
        online: those that run.
    """

    possible: frozenset[int]
    present: frozenset[int]
    online: frozenset[int]


@dataclass(frozen=True, slots=True)
class CpuPlace:
    """Where one CPU sits.

    Args:
        package: its socket's number.
        core: its core's number within the socket.
        threads: the CPUs that share its core, itself among them.
        cores: the CPUs that share its socket, itself among them.
    """

    package: int
    core: int
    threads: frozenset[int]
    cores: frozenset[int]


@dataclass(frozen=True, slots=True)
class CpuTopology:
    """How the online CPUs are grouped, by CPU number."""

    places: Mapping[int, CpuPlace]

    @property
    def sockets(self) -> int:
        """Number of sockets."""
        return len({place.package for place in self.places.values()})

    @property
    def cores_per_socket(self) -> set[int]:
        """How many cores the sockets have: one number where all are alike."""
        cores: dict[int, set[int]] = {}
        for place in self.places.values():
            cores.setdefault(place.package, set()).add(place.core)
        return {len(members) for members in cores.values()}

    @property
    def threads_per_core(self) -> set[int]:
        """How many threads the cores have: one number where all are alike."""
        return {len(place.threads) for place in self.places.values()}

    def contradictions(self) -> list[str]:
        """Where the kernel's maps disagree with one another; empty when they are sound."""
        found = []
        for kind in ("threads", "cores"):
            for cpu, place in self.places.items():
                siblings: frozenset[int] = getattr(place, kind)
                if cpu not in siblings:
                    found.append(f"CPU {cpu} is missing from its own list of {kind}")
                found += [
                    f"CPU {cpu} lists {other} among its {kind}, but CPU {other} does not list the same"
                    for other in sorted(siblings)
                    if other not in self.places or getattr(self.places[other], kind) != siblings
                ]
        found += [
            f"CPU {cpu} shares a core with CPUs of another socket"
            for cpu, place in self.places.items()
            if not place.threads <= place.cores
        ]
        return found


@dataclass(frozen=True, slots=True)
class CpuTime:
    """What a CPU has done since boot, each a time: ``/proc/stat``, proc(5)."""

    user: timedelta
    system: timedelta
    idle: timedelta
    steal: timedelta


@dataclass(frozen=True, slots=True)
class CpuWork:
    """What a CPU did while a program was pinned to it and spun.

    Args:
        span: how long the program spun, by the guest's monotonic clock.
        user: user time that the kernel charged to this CPU meanwhile.
        rounds: how often the program's loop went round.
        ran_on: the CPUs the program found itself on; just this one if pinning held.
    """

    span: timedelta
    user: timedelta
    rounds: int
    ran_on: frozenset[int]


_MOST_CPUS = 1 << 16
"""Far more than any kernel is built for (x86: 8192, ``NR_CPUS``): a list of them must fit into memory."""


def parse_cpu_list(data: bytes) -> frozenset[int]:
    """Read ``0-3,8``: the format of cpulists in sysfs (kernel, Documentation/admin-guide/cputopology.rst)."""
    found: set[int] = set()
    text = data.decode("ascii").strip()
    for part in text.split(",") if text else ():
        bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not bounds:
            raise ValueError(f"{part!r} is no range of CPUs")
        first, last = int(bounds[1]), int(bounds[2] or bounds[1])
        if last < first:
            raise ValueError(f"{part!r} runs backwards")
        if last >= _MOST_CPUS:
            raise ValueError(f"{part!r} is beyond the CPUs that a kernel can have")
        found.update(range(first, last + 1))
    return frozenset(found)


def parse_masks(files: Mapping[str, bytes]) -> CpuMasks:
    """The three lists, from their files."""
    possible, present, online = (
        parse_cpu_list(files[f"{_SYSFS}/{name}"]) for name in ("possible", "present", "online")
    )
    if not online:
        raise ValueError("no CPU is online")
    return CpuMasks(possible, present, online)


def parse_topology(files: Mapping[str, bytes]) -> CpuTopology:
    """The files below ``cpuN/topology``."""
    values: dict[int, dict[str, bytes]] = {}
    for path, content in files.items():
        found = re.fullmatch(r".*/cpu(\d+)/topology/(\w+)", path)
        if not found:
            raise ValueError(f"{path} is no file of a CPU's topology")
        values.setdefault(int(found[1]), {})[found[2]] = content
    if not values:
        raise ValueError("no CPU has a topology")
    return CpuTopology(
        {
            cpu: CpuPlace(
                int(value["physical_package_id"]),
                int(value["core_id"]),
                parse_cpu_list(value["thread_siblings_list"]),
                parse_cpu_list(value["core_siblings_list"]),
            )
            for cpu, value in sorted(values.items())
        }
    )


def parse_times(data: bytes) -> dict[int, CpuTime]:
    """The per-CPU lines of ``/proc/stat``."""
    times = {}
    for line in data.decode("ascii").splitlines():
        words = line.split()
        if words and re.fullmatch(r"cpu\d+", words[0]):
            user, nice, system, idle, _iowait, irq, softirq, steal = (
                timedelta(seconds=int(word) / _USER_HZ) for word in words[1:9]
            )
            times[int(words[0][3:])] = CpuTime(user + nice, system + irq + softirq, idle, steal)
    if not times:
        raise ValueError("no line of a CPU")
    return times


def parse_work(data: bytes) -> dict[int, CpuWork]:
    """What the program ``busy`` printed: one JSON object a CPU."""
    done = {}
    for line in data.decode("ascii").splitlines():
        fields = read_json(line)
        done[int(fields["cpu"])] = CpuWork(
            timedelta(seconds=fields["span"]),
            timedelta(seconds=fields["ticks"] / _USER_HZ),
            int(fields["rounds"]),
            frozenset(int(cpu) for cpu in fields["ran_on"]),
        )
    return done


MASKS = Probe.files("CPU masks", parse_masks, *(f"{_SYSFS}/{name}" for name in ("possible", "present", "online")))
TOPOLOGY = Probe.files(
    "CPU topology",
    parse_topology,
    *(
        f"{_SYSFS}/cpu[0-9]*/topology/{name}"
        for name in ("physical_package_id", "core_id", "thread_siblings_list", "core_siblings_list")
    ),
)
TIMES = Probe.file("/proc/stat", parse_times)


class Cpus:
    """The CPUs of a guest, by their Linux numbers. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def masks(self) -> CpuMasks:
        """Possible, present and online CPUs: ``/sys/devices/system/cpu/{possible,present,online}``."""
        return self._guest.read(MASKS)

    def online(self) -> frozenset[int]:
        """The CPUs that run: ``/sys/devices/system/cpu/online``."""
        return self.masks().online

    def topology(self) -> CpuTopology:
        """The grouping of the online CPUs: ``/sys/devices/system/cpu/cpuN/topology``."""
        return self._guest.read(TOPOLOGY)

    def times(self) -> dict[int, CpuTime]:
        """What each online CPU has done since boot: ``/proc/stat``."""
        return self._guest.read(TIMES)

    def set_online(self, cpu: int, online: bool) -> None:
        """Take a CPU out of service or put it back: ``/sys/devices/system/cpu/cpuN/online``.

        Raises:
            CommandFailed: the kernel refused.
        """
        self._guest.run(["tee", f"{_SYSFS}/cpu{cpu:d}/online"], stdin=b"1\n" if online else b"0\n")

    def bring_up(self) -> frozenset[int]:
        """Put every present CPU in service, as a guest without a rule for new CPUs needs it; returns those online."""
        masks = self.masks()
        for cpu in sorted(masks.present - masks.online):
            self.set_online(cpu, online=True)
        return self.online()

    def work(self, span: timedelta = timedelta(seconds=1)) -> dict[int, CpuWork]:
        """Spin on each online CPU in turn, pinned to it, for ``span``; says what the kernel charged to it."""
        cpus = self.online()
        argv = ["python3", "-", str(span.total_seconds()), *(str(cpu) for cpu in sorted(cpus))]
        result = self._guest.run(argv, stdin=program("busy"), timeout=len(cpus) * (span + timedelta(seconds=30)))
        return Probe("work of the CPUs", tuple(argv), parse_work).value(result, self._guest.name)
