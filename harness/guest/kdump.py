"""A guest's crash kernel: what takes over when its kernel crashes, and keeps the memory of that."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from harness.core import Deadline, GuestError, Size
from harness.guest.inside import program
from harness.guest.kernel import COMMAND_LINE
from harness.guest.probe import Probe
from harness.guest.vmcore import Range, Vmcore, parse_memory, parse_vmcore

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_ARGUMENTS = "/boot/grub/extra.cfg"
"""Where images that the harness built take further kernel arguments."""
_FOLDER = PurePosixPath("/var/crash")
_FILE, _CRASHED, _CRASH, _KEEP, _INIT = (str(_FOLDER / name) for name in ("vmcore", "pid", "crash", "keep.py", "init"))
_HEAD = 1 << 20

SAID = r"interop: (.*)\n"
"""What the crash kernel says on the console when it is done, ``kept N bytes``; then it boots the machine anew."""

# Root is there, read-only, with what the initramfs mounted; nothing else of the system is started.
_AS_INIT = f"""#!/bin/sh
exec </dev/console >/dev/console 2>&1
mount -o remount,rw / && said=$(python3 {_KEEP} /proc/vmcore {_FILE})
mount -o remount,ro /
echo "interop: $said"
sleep 1
echo b >/proc/sysrq-trigger
"""

MEMORY = Probe.file("/proc/iomem", parse_memory)
RESERVED = Probe.file("/sys/kernel/kexec_crash_size", lambda data: Size(int(data)))
LOADED = Probe.file("/sys/kernel/kexec_crash_loaded", lambda data: bool(int(data)))
VMCORE = Probe("vmcore", ("head", "--bytes", str(_HEAD), "--", _FILE), parse_vmcore)


class Kdump:
    """The crash kernel of a guest that boots an image of the harness."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def can_reserve(self) -> bool:
        """Whether the image's boot loader takes kernel arguments of ours."""
        return self._guest.files.exists(_ARGUMENTS)

    def reserve(self, size: Size, deadline: Deadline) -> None:
        """Boot anew with so much memory kept for the crash kernel (``crashkernel=``)."""
        text, boot = self._guest.files.read(_ARGUMENTS).decode("ascii"), self._guest.boot_id
        found = re.fullmatch(r"set extra='([^']*)'\s*", text)
        if not found:
            raise GuestError(f"{self._guest.name}: {_ARGUMENTS} reads {text!r}", operation="reserve")
        arguments = f"{found[1]} crashkernel={size.mib}M".strip()
        self._guest.files.write(_ARGUMENTS, f"set extra='{arguments}'\n".encode())
        self._guest.run(["sync"])
        self._guest.run(["systemctl", "--no-block", "reboot"])
        self._guest.reboot_seen(boot, deadline)

    def reserved(self) -> Size:
        """How much is kept: ``/sys/kernel/kexec_crash_size``."""
        return self._guest.read(RESERVED)

    def loaded(self) -> bool:
        """Whether a crash kernel is in place: ``/sys/kernel/kexec_crash_loaded``."""
        return self._guest.read(LOADED)

    def load(self) -> None:
        """Put the running kernel's own file in place, with a program of ours as all that it starts."""
        self._guest.files.write(_KEEP, program("keep_memory"))
        self._guest.files.write(_INIT, _AS_INIT.encode(), mode=0o755)
        self._guest.files.remove(_FILE)
        version, line = self._guest.kernel.version(), self._guest.read(COMMAND_LINE)
        words = [word for word in line.split() if not word.startswith(("BOOT_IMAGE=", "crashkernel="))]
        line = " ".join([*words, "nr_cpus=1", "reset_devices", "irqpoll", f"init={_INIT}"])
        files = (f"/boot/vmlinuz-{version}", f"/boot/initrd.img-{version}")
        self._guest.run(["python3", "-", *files, line], stdin=program("crash_kernel"), timeout=timedelta(minutes=2))

    def memory(self) -> tuple[Range, ...]:
        """The RAM that the kernel has: ``/proc/iomem``."""
        return self._guest.read(MEMORY)

    def crash(self, cpu: int) -> None:
        """Crash the kernel on this CPU, a moment after this returned: ``/proc/sysrq-trigger``."""
        self._guest.files.write(_CRASH, f"echo $$ >{_CRASHED}; sync; echo c >/proc/sysrq-trigger\n".encode())
        self._guest.run(["systemd-run", "--quiet", "--no-block", "taskset", "--cpu-list", str(cpu), "sh", _CRASH])

    def crashed_in(self) -> int:
        """The process in which it crashed."""
        return int(self._guest.files.read(_CRASHED))

    def vmcore(self) -> Vmcore:
        """What the head of the file says that is in it."""
        return self._guest.read(VMCORE)

    def length(self) -> int:
        """Of the file."""
        return int(self._guest.run(["stat", "--format", "%s", "--", _FILE]).text)

    def holds(self, text: str) -> bool:
        """Whether this text is anywhere in it."""
        # Not as a text: lines of one, without an end where memory is empty, would have to be held whole.
        argv = ["grep", "--quiet", "--fixed-strings", "--", text, _FILE]
        return self._guest.run(argv, check=False, timeout=timedelta(minutes=10)).ok
