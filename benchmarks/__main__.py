"""``make bench``: what the harness promises, as ratios with their spread: ratios travel between machines, not seconds.

Everything is measured on the lab's first host. Warm slots are made before the clock starts, since they are cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import figures, inner, pages
from benchmarks.figures import Figure, Series, timed
from harness.backends.model import Firmware, Shape
from harness.core import Deadline, InteropError, UsageError
from harness.guest import Guest, Probe
from harness.image import resolve
from harness.lab import Run, connect, load_lab
from harness.lab.attend import Attendant
from harness.lab.slots import Slots
from harness.lab.twins import find

PATIENCE = timedelta(minutes=12)
_WHAT = (
    "fresh, facts, runs, pages (default: these; pages with Chromium), vsphere, hyperv; verdicts, night (need no guest)"
)
_FILES = {
    "/proc": ("cmdline", "loadavg", "uptime", "stat", "meminfo", "version", "modules", "mounts"),
    "/proc/sys/kernel": ("hostname", "osrelease", "ostype", "version", "pid_max", "threads-max"),
    "/proc/sys/vm": ("swappiness", "dirty_ratio", "overcommit_memory", "min_free_kbytes"),
    "/sys/class/net/lo": ("mtu", "address", "operstate", "ifindex", "flags", "type"),
    "/sys/class/net/lo/statistics": ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets"),
    "/sys/devices/system/cpu": ("online", "possible", "present", "offline"),
}
FACTS = tuple(Probe.file(f"{folder}/{name}", bytes.strip) for folder, names in _FILES.items() for name in names) * 2
"""64 facts: 32 small files, each twice."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Measures things several times and says how it goes."""

    runs: int
    say: Callable[[str], None]

    def repeat(self, name: str, action: Callable[[], float]) -> Series:
        """``runs`` samples of what ``action`` returns, in seconds."""
        samples = []
        for number in range(self.runs):
            samples.append(action())
            self.say(f"{name} {number + 1}/{self.runs}: {samples[-1]:.2f} s")
        return Series(name, tuple(samples))


def fresh_guest(slots: Slots, sampler: Sampler, firmware: Firmware, promise: float) -> Figure:
    """A fresh guest, answering by ssh, against one booted from power-off."""
    shape = Shape(firmware=firmware)

    def ready(make: Callable[[], Guest]) -> float:
        guests: list[Guest] = []

        def reach() -> None:
            guests.append(make())
            guests[0].run(["true"])

        try:
            return timed(reach)
        finally:
            for guest in guests:  # outside the clock: given back between tests
                slots.release(guest)

    def fresh() -> Guest:
        return slots.fresh(shape, Deadline.after(PATIENCE))

    def cold() -> Guest:
        return slots.cold(shape, Deadline.after(PATIENCE))

    sampler.say(f"{firmware}: warm slot ready after {ready(fresh):.1f} s")
    warm = sampler.repeat(f"fresh guest, {firmware}", lambda: ready(fresh))
    booted = sampler.repeat(f"cold boot, {firmware}", lambda: ready(cold))
    return figures.ratio(f"fresh guest / cold boot, {firmware}", warm, booted, promise)


def batched_facts(slots: Slots, sampler: Sampler) -> Figure:
    """64 facts in one round trip against 64 single commands, on one connection."""
    guest = slots.fresh(Shape(), Deadline.after(PATIENCE))
    try:
        guest.read_all(*FACTS)  # the connection is made before the clock starts
        together = sampler.repeat("64 facts batched", lambda: timed(lambda: guest.read_all(*FACTS)))
        single = sampler.repeat("64 facts one by one", lambda: timed(lambda: [guest.read(fact) for fact in FACTS]))
    finally:
        slots.release(guest)
    return figures.ratio("batched / single facts", together, single, 0.5)


def whole_runs(sampler: Sampler, tests: int, *options: str) -> list[Figure]:
    """Between tests on an unchanged guest, and from the command to the first test."""
    gaps: list[float] = []

    def first_test() -> float:
        run = inner.run(tests, *options)
        gaps.extend(run.gaps)
        return run.first_test

    sampler.say(f"a run to make the warm slot: first test after {inner.run(1, *options).first_test:.1f} s")
    began = sampler.repeat("command to first test", first_test)
    return [
        figures.absolute("between two tests, unchanged guest", Series("gap", tuple(gaps)), 0.2),
        figures.absolute("command to first test, warm slot", began, None),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", help=_WHAT, default=[])
    parser.add_argument("--runs", type=int, default=5, help="samples of each (default: 5)")
    parser.add_argument("--tests", type=int, default=30, help="tests in an inner run (default: 30)")
    parser.add_argument("--trials", type=int, default=10_000, help="validations of verdicts (default: 10,000)")
    parser.add_argument("--night-runs", type=int, default=3, help="runs of each size of a night (default: 3)")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        metavar="N",
        default=[10, 100, 1000],
        help="tests of a night, two sizes or more, in tens (10 100 1000)",
    )
    parser.add_argument(
        "--hosts", type=int, nargs="+", metavar="N", default=[1, 8, 64], help="hosts of a night, two or more (1 8 64)"
    )
    parser.add_argument("--lab", default="local", help="lab (default: local)")
    parser.add_argument("--host", help="host of the lab (default: its first)")
    parser.add_argument("--image", default="debian12", help="guest image (default: debian12)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures with all samples")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and return 1 when a promise is not kept."""
    parser = _parser()
    options = parser.parse_args(argv)
    what = options.what or ["fresh", "facts", "runs", *(["pages"] if shutil.which("chromium") else [])]
    console = Console(stderr=True, highlight=False)
    found: list[Figure] = []

    def say(text: str) -> None:
        console.print(f"  {text}", soft_wrap=True)

    kept = _without_guests(what, options, say, parser)
    if set(what) <= {"verdicts", "night"}:
        return 0 if kept else 1
    sampler = Sampler(options.runs, say)
    try:
        if "runs" in what:  # first: other processes cannot use an embedded hypervisor that this one has open
            host = ["--host", options.host or next(iter(load_lab(options.lab).hosts))]
            found += whole_runs(sampler, options.tests, "--lab", options.lab, "--image", options.image, *host)
        if "pages" in what:
            found += pages.measure(options.runs, say)
        if set(what) & {"fresh", "facts", "vsphere", "hyperv"}:
            found += _with_guests(what, options, sampler)
    except InteropError as error:
        console.print(f"bench: {error}", style="red", soft_wrap=True)
        return 2
    _show(found)
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in found], indent=1))
    return 0 if kept and all(figure.kept for figure in found) else 1


def _without_guests(
    what: list[str], options: argparse.Namespace, say: Callable[[str], None], parser: argparse.ArgumentParser
) -> bool:
    kept = True
    if "verdicts" in what:
        from benchmarks import verdicts  # noqa: PLC0415  scipy is an optional extra

        try:
            kept = verdicts.run(options.trials, say, options.json)
        except UsageError as error:
            parser.error(str(error))
    if "night" in what:
        from benchmarks import night  # noqa: PLC0415  others need no simulation

        for option, wanted in (("--sizes", options.sizes), ("--hosts", options.hosts)):
            if len(set(wanted)) < 2:
                parser.error(f"{option}: growth is from one number to another, so give two or more")
        if off := [size for size in options.sizes if size < 10 or size % 10]:
            parser.error(f"--sizes: tests come in tens, not in {off[0]}")
        kept &= night.run(options.night_runs, options.sizes, options.hosts, say, options.json)
    return kept


def _with_guests(what: list[str], options: argparse.Namespace, sampler: Sampler) -> list[Figure]:
    lab = load_lab(options.lab)
    host = lab.hosts[options.host] if options.host else next(iter(lab.hosts.values()))
    image = resolve(options.image)
    found: list[Figure] = []
    with Run.begin(lab) as run, Attendant(lab, run.id, tell=sampler.say) as attendant:
        attendant.attend(host)
        hypervisor = connect(host, run, image)
        try:
            facts = hypervisor.facts(Deadline.after(PATIENCE))
            sampler.say(f"{host.name}: {facts.product} {facts.version}, {facts.accelerated}, {facts.cpus} processors")
            slots = Slots(run, host, hypervisor, image)
            try:
                if "vsphere" in what:  # first: the others publish the image, too
                    from benchmarks import vsphere  # noqa: PLC0415  pyvmomi is an optional extra

                    twin = find(lab.path, host.twin, run.id) if host.twin else None
                    pid = twin.pid if twin else None
                    found += vsphere.measure(hypervisor, slots, image, sampler.runs, say=sampler.say, twin=pid)
                if "hyperv" in what:
                    from benchmarks import hyperv  # noqa: PLC0415  pywinrm is an optional extra

                    twin = find(lab.path, host.twin, run.id) if host.twin else None
                    found += hyperv.measure(hypervisor, slots, image, sampler.runs, say=sampler.say, twin=twin)
                if "facts" in what:
                    found.append(batched_facts(slots, sampler))
                if "fresh" in what:
                    promise = 0.1 if host.embedded else 0.2
                    found += [fresh_guest(slots, sampler, firmware, promise) for firmware in Firmware]
            finally:
                slots.close()
        finally:
            hypervisor.close()
    return found


def _show(found: list[Figure]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("figure", "median", "spread", "promise", "made of"):
        table.add_column(heading)
    for row in figures.lines(found):
        table.add_row(*row)
    Console(width=200 if not sys.stdout.isatty() else None, highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
