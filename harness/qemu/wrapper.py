"""Run as a program in the emulator's place: restrict every user network, then become the real emulator.

Stands alone on the standard library, so that ``python -IS wrapper.py /usr/bin/qemu-system-x86_64 ...`` starts in some
20 ms whatever else is installed; see :mod:`harness.qemu.restrict` for the why.
"""

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


if __name__ == "__main__":
    os.execv(sys.argv[1], [sys.argv[1], *restricted(sys.argv[2:])])  # noqa: S606 - a list; no shell is involved
