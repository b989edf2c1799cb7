"""Two processes on two CPUs wake each other up through pipes: ROUNDS CPU CPU.

Before each round both are left alone for a moment, so that the kernel lets their CPUs sleep: one that still polls for
work is woken up without an interrupt (kernel, kernel/sched/core.c, set_nr_if_polling).
"""

import json
import os
import select
import sys
from pathlib import Path

MOMENT = 0.003  # seconds: guests poll for 200 us at most (drivers/cpuidle/governors/haltpoll.c)


def running_on() -> int:
    """The CPU this process last ran on: field 39 of /proc/self/stat (proc(5))."""
    return int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[36])


def echo(cpu: int, asked: int, answers: int) -> None:
    """The other side: answer each byte."""
    os.sched_setaffinity(0, {cpu})
    while os.read(asked, 1):
        os.write(answers, bytes([running_on() % 256]))


def main() -> None:
    """Print how many rounds there were, and where the two ran."""
    rounds, here, there = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (asked, ask), (answered, answer) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ask)
        echo(there, asked, answer)
        os._exit(0)
    os.sched_setaffinity(0, {here})
    done, said = 0, b""
    for _ in range(rounds):
        select.select([], [], [], MOMENT)
        os.write(ask, b".")
        said = os.read(answered, 1)
        done += len(said)
    os.close(ask)
    status = os.waitpid(child, 0)[1]
    if status or not said:
        raise SystemExit(f"the process on CPU {there} ended with {status}")
    print(json.dumps({"rounds": done, "ran_on": [running_on(), said[0]]}))


if __name__ == "__main__":
    main()
