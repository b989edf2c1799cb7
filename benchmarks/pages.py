"""How long the page takes that puts hypervisors side by side: from asking for it to the first picture, in Chromium.

Seconds here, not ratios: a reader waits for seconds. The promise is that of a desktop which has nothing else to do.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Figure, Series
from harness.measure import Better
from harness.report.cells import Cell, RunCells
from harness.report.environment import HostRecord
from harness.report.history import SHOWN, Entry, Night, of
from harness.report.matrix import page
from harness.report.matrix.table import table
from harness.report.measured import Figure as Kept
from harness.report.summary import Verdict
from tests.end_to_end.browser import Browser

HOSTS = (
    HostRecord("kvm", "kvm", "kvm", "QEMU/libvirt", "7.2.22 (QEMU 7.2.22, libvirt 9.0.0)", "kvm"),
    HostRecord("vsphere", "vsphere", "vsphere", "VMware ESXi", "8.0.2 (21997540)", "tcg", twin=True),
    HostRecord("ws2019", "ws2019", "hyperv", "Microsoft Hyper-V", "10.0.17763 (17763)", "hyperv"),
    HostRecord("ws2022", "ws2022", "hyperv", "Microsoft Hyper-V", "10.0.20348 (20348)", "hyperv"),
)
PROMISES = {3000: 1.0, 10000: 2.0}
"""Results -> seconds."""
# Resolves once what is laid out first has been painted: the second frame begins after the first was drawn.
_PAINTED = """new Promise((done) => {
  const seen = () => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() / 1000)));
  if (document.readyState === "complete") seen(); else addEventListener("load", seen);
})"""
_ASKED = """new Promise((done) => {
  const began = performance.now(), words = document.getElementById("words");
  words.value = "latency"; words.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - began) / 1000)));
})"""


def sample(results: int, nights: int = SHOWN, seed: int = 1) -> tuple[RunCells, list[Night]]:
    """A run with so many results on four hypervisors, and the history of so many runs; each time the same."""
    dice = random.Random(seed)  # noqa: S311  samples, not secrets
    start = datetime(2026, 3, 1, tzinfo=UTC)
    tests = -(-results // len(HOSTS))
    cells, taken = [], {}
    for number in range(tests):
        suite = ("vcpu", "integration", "clock", "network", "lifecycle")[number % 5]
        for host in HOSTS[: results - number * len(HOSTS)]:
            status = dice.choices([Verdict.PASSED, Verdict.SKIPPED, Verdict.FAILED, Verdict.KNOWN], [90, 6, 3, 1])[0]
            cell = Cell(
                f"X{number // 4:03d}",
                f"what check {number // 4} promises is kept",
                host.pool,
                status,
                suite=suite,
                params=(("size", str(4 ** (number % 4))),),
                host=host.name,
                twin=host.twin,
                reason={
                    Verdict.SKIPPED: f"Skipped: {host.name} cannot: vCPUs added while running (CPU_HOT_ADD)",
                    Verdict.FAILED: "AssertionError: 8 vCPUs were asked for, and 7 came online within a minute",
                }.get(status, ""),
                start=start.timestamp(),
                uuid=f"{number}-{host.name}",
            )
            cells.append(cell)
            if number % 3 == 0:
                level = 0.001 * (1 + number % 7)
                taken[cell.key, cell.pool] = (Kept("latency", level, "s", Better.LOWER, level / 20),)
    run = RunCells(Path(), "r", "bench", "debian12", "ab" * 32, "cd" * 16, hosts=HOSTS, cells=tuple(cells))
    whole = of(run, lambda cell: taken.get((cell.key, cell.pool), ()))

    def varied(entry: Entry) -> Entry:
        wavering = tuple(replace(one, value=one.value * dice.uniform(0.9, 1.1)) for one in entry.figures)
        status = Verdict.FAILED if dice.random() < 0.01 else entry.status
        return replace(entry, figures=wavering, status=status)

    return run, [
        replace(
            whole,
            run="r" if night == 0 else f"r-{night}",
            start=start - timedelta(days=night),
            entries=tuple(map(varied, whole.entries)),
        )
        for night in range(nights)
    ]


def measure(runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Open pages of 3,000 and of 10,000 results several times each, and search in the larger."""
    found = []
    with tempfile.TemporaryDirectory(prefix="interop-pages-") as scratch:
        browser = Browser(Path(scratch) / "profile")
        try:
            for results, promise in PROMISES.items():
                run, history = sample(results)
                made = page.write(Path(scratch) / str(results), table([run], history), title="bench", results="x.html")
                opened, asked = [], []
                for _ in range(runs):
                    browser.open(made.as_uri())
                    opened.append(float(browser.run(_PAINTED)))
                    asked.append(float(browser.run(_ASKED)))
                    size = made.stat().st_size >> 10
                    say(f"{results} results, {size} KiB: {opened[-1]:.2f} s, a search {asked[-1]:.2f} s")
                found.append(figures.absolute(f"open {results} results", Series("page", tuple(opened)), promise))
                found.append(figures.absolute(f"search {results} results", Series("search", tuple(asked)), None))
        finally:
            browser.close()
    return found
