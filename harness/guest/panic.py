"""What a serial console says when a guest will not come (back): a table, and how an excerpt is cut out of a log."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Enough for registers, a call trace and what led to it.
_BEFORE, _AFTER = 10, 40
_WIDE = 400  # characters of a line: the excerpt stands in a message


@dataclass(frozen=True, slots=True)
class Sign:
    """A line that means the guest is lost: what it is called, and how it reads."""

    description: str
    pattern: re.Pattern[str]


# Texts of the kernel (kernel/panic.c, init/do_mounts.c), systemd's emergency.service, initramfs-tools, dracut, GRUB,
# SeaBIOS and edk2. Warnings and oopses are not here: a guest may live on after them, and checks look for them.
SIGNS = (
    Sign("kernel panic", re.compile(r"Kernel panic - not syncing")),
    Sign("emergency shell", re.compile(r"You are in (emergency|rescue) mode|Give root password for maintenance")),
    Sign("initramfs shell", re.compile(r"^\(initramfs\)|^dracut:/#", re.MULTILINE)),
    Sign("emergency shell of dracut", re.compile(r"Entering emergency mode\. Exit the shell")),
    Sign("boot loader prompt", re.compile(r"^grub( rescue)?> ", re.MULTILINE)),
    Sign("nothing to boot", re.compile(r"No bootable device|BdsDxe: No bootable option")),
)


@dataclass(frozen=True, slots=True)
class Death:
    """A sign that was seen, with the lines around it."""

    description: str
    text: str


def find(output: str) -> Death | None:
    """The first sign of death in a console's output, or None."""
    first = min(
        ((found.start(), sign) for sign in SIGNS if (found := sign.pattern.search(output))),
        key=lambda pair: pair[0],
        default=None,
    )
    if first is None:
        return None
    at, sign = first
    before = output[:at].splitlines()
    after = output[at:].splitlines()
    # The line in which the sign stands begins in `before` unless the sign begins the line.
    head = "" if output[:at].endswith("\n") or not before else before.pop()
    lines = [*before[-_BEFORE:], head + after[0]]
    for line in after[1:_AFTER]:
        lines.append(line)
        if "end Kernel panic" in line:
            break
    return Death(sign.description, "\n".join(line if len(line) <= _WIDE else f"{line[:_WIDE]} ..." for line in lines))
