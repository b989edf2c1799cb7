"""What the kernel that runs has at hand before it finds its root file system: its initramfs, and what is built in."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# Packed or not; in a listing by `ls -l` a link shows its target behind an arrow.
_MODULE = re.compile(r"(?:^|[\s/])([\w-]+)\.ko(?:\.(?:xz|zst|gz))?(?: -> .*)?$")
_INIT = re.compile(r"(?:^|[\s/])init(?: -> .*)?$")

# The kernel's release is the last word. Debian and Ubuntu call the file initrd.img-*, Red Hat initramfs-*.img, SUSE
# initrd-*; whose tool there is, made it. Both cost an emulated guest seconds: they unpack it.
_LIST = """
for file in "/boot/initrd.img-$1" "/boot/initramfs-$1.img" "/boot/initrd-$1" "/lib/modules/$1/initrd"; do
    [ -e "$file" ] || continue
    if command -v lsinitramfs >/dev/null; then exec lsinitramfs "$file"; fi
    exec lsinitrd "$file"
done
echo "there is no initramfs of $1 in /boot" >&2
exit 1
"""


def parse_listing(data: bytes) -> frozenset[str]:
    """The modules that ``lsinitramfs`` lists (a path a line), or dracut's ``lsinitrd`` (as ``ls -l``).

    By the kernel's names, which have no dashes.
    """
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    if not any(_INIT.search(line) for line in lines):
        raise ValueError("it has no init: this is no initramfs")
    return frozenset(_called(found[1]) for line in lines if (found := _MODULE.search(line)))


def parse_builtin(data: bytes) -> frozenset[str]:
    """``modules.builtin``, a path a line, by the kernel's names (kernel, Documentation/kbuild/kbuild.rst)."""
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    names = frozenset(_called(found[1]) for line in lines if (found := _MODULE.search(line)))
    if not names or len(names) != len(set(lines)):
        raise ValueError("not one module a line")
    return names


def _called(file: str) -> str:
    # A file may have dashes where the module itself has underscores (modprobe(8)).
    return file.replace("-", "_")


class Initramfs:
    """The initramfs of the running kernel. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def modules(self) -> frozenset[str]:
        """The modules in it: ``lsinitramfs`` (initramfs-tools) or ``lsinitrd`` (dracut).

        Raises:
            ProbeFailed: there is none, or it cannot be listed.
        """
        argv = ("sh", "-c", _LIST, "-", self._guest.kernel.version())
        return self._guest.read(Probe("initramfs", argv, parse_listing), timeout=timedelta(minutes=5))

    def built_in(self) -> frozenset[str]:
        """What needs no module: ``/lib/modules/<release>/modules.builtin``."""
        return self._guest.read(
            Probe.file(f"/lib/modules/{self._guest.kernel.version()}/modules.builtin", parse_builtin)
        )
