"""Spin on each of some CPUs alone, then on all of them at once: SECONDS TRIALS CPU...

The clock is looked at seldom: where reading it means leaving the guest, all CPUs would queue for that and nothing else.
"""

import json
import os
import sys
import time
from pathlib import Path

CHUNK = 20000  # rounds between two looks at the clock


def running_on() -> int:
    """The CPU this process last ran on: field 39 of /proc/self/stat (proc(5))."""
    return int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[36])


def spin(seconds: float) -> "tuple[float, int]":
    """Rounds a second, and the CPU at the end."""
    rounds, began = 0, time.monotonic()
    while True:
        for _ in range(CHUNK):
            rounds += 1
        span = time.monotonic() - began
        if span >= seconds:
            return rounds / span, running_on()


def all_at_once(cpus: "list[int]", seconds: float) -> "list[tuple[float, int]]":
    """A process on each CPU; they begin together, when all of them are there."""
    (seen, ready), (go, start) = os.pipe(), os.pipe()
    answers = []
    for cpu in cpus:
        answer, report = os.pipe()
        if os.fork() == 0:
            os.sched_setaffinity(0, {cpu})
            os.close(start)
            os.write(ready, b".")
            os.read(go, 1)  # end of file, once nobody holds the other end
            os.write(report, json.dumps(spin(seconds)).encode("ascii"))
            os._exit(0)
        os.close(report)
        answers.append(answer)
    for _ in cpus:
        os.read(seen, 1)
    os.close(start)
    done = []
    for answer in answers:
        with os.fdopen(answer, "rb") as reported:
            rate, ran = json.loads(reported.read())
            done.append((rate, ran))
        os.wait()
    for end in (seen, ready, go):
        os.close(end)
    return done


def main() -> None:
    """Print by CPU: rounds a second of each trial, alone and together, and where its processes ran."""
    seconds, trials, cpus = float(sys.argv[1]), int(sys.argv[2]), [int(word) for word in sys.argv[3:]]
    alone: dict[int, list[float]] = {cpu: [] for cpu in cpus}
    together: dict[int, list[float]] = {cpu: [] for cpu in cpus}
    ran_on: dict[int, set[int]] = {cpu: set() for cpu in cpus}
    for _ in range(trials):
        for cpu in cpus:
            rate, ran = all_at_once([cpu], seconds)[0]
            alone[cpu].append(rate)
            ran_on[cpu].add(ran)
        for cpu, (rate, ran) in zip(cpus, all_at_once(cpus, seconds)):  # noqa: B905  guests may have Python 3.6
            together[cpu].append(rate)
            ran_on[cpu].add(ran)
    seen = {cpu: sorted(ran) for cpu, ran in ran_on.items()}
    print(json.dumps({"alone": alone, "together": together, "ran_on": seen}))


if __name__ == "__main__":
    main()
