"""Run as a program in the emulator's place: say what libvirt has no word for, then become the real emulator.

Every user network is restricted (:mod:`harness.qemu.restrict` has the why), and the vCPUs of an emulated machine with
room for more share a thread (:func:`harness.qemu.accel.option` has it). Stands alone on the standard library, so that
``python -IS wrapper.py /usr/bin/qemu-system-x86_64 ...`` starts in some 20 ms whatever else is installed.
"""

import itertools
import json
import os
import sys


def restricted(arguments: list[str]) -> list[str]:
    """QEMU's arguments with every user network among them restricted; everything else passes through untouched.

    ``restrict`` lets nothing out but what ``hostfwd`` let in; ``ipv6`` off keeps slirp's router advertisements away.
    """
    return [
        _netdev(argument) if previous in {"-netdev", "--netdev"} else argument
        for previous, argument in zip(["", *arguments], arguments, strict=False)
    ]


def _netdev(argument: str) -> str:
    if argument.startswith("{"):
        options = json.loads(argument)
        if options.get("type") != "user":
            return argument
        return json.dumps(options | {"restrict": True, "ipv6": False})
    if argument == "user" or argument.startswith("user,"):
        return f"{argument},restrict=on,ipv6=off"
    return argument


def steady(arguments: list[str]) -> list[str]:
    """QEMU's arguments with one thread for all vCPUs where they are emulated and more may come."""
    words = dict(itertools.pairwise(arguments))
    first, *others = words.get("-smp", "1").split(",")
    most = next((int(word.removeprefix("maxcpus=")) for word in others if word.startswith("maxcpus=")), 0)
    if words.get("-accel") != "tcg" or most <= int(first.removeprefix("cpus=")):
        return arguments
    at = arguments.index("-accel") + 1
    return [*arguments[:at], "tcg,thread=single", *arguments[at + 1 :]]


if __name__ == "__main__":
    os.execv(sys.argv[1], [sys.argv[1], *steady(restricted(sys.argv[2:]))])  # noqa: S606 - a list; no shell is involved
