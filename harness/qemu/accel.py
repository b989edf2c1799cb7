"""Whether KVM really works here: decided by booting a kernel, because nothing less tells.

``/dev/kvm`` may open, answer its API version and even create a VM, and ordinary guests still hang in early boot (seen
under nested paravirtual KVM). So the probe boots a kernel to its initramfs shell with a deadline.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import selectors
import subprocess
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from harness.qemu.errors import QemuError

MARKER = b"(initramfs)"
"""What the shell of Debian's initramfs prompts with when the kernel command line says ``break=top``."""


class Accel(StrEnum):
    """What runs the vCPUs."""

    KVM = "kvm"
    TCG = "tcg"


def option(accel: str, vcpus: int, most: int) -> str:
    """What ``-accel`` says for a machine: emulated and with room for more vCPUs, all of them share one thread.

    A vCPU that is added later stands at the reset vector, halted, until the guest's start-up IPI. Until then Linux
    sends it what it sends to all CPUs but its own (``arch/x86/kernel/apic/ipi.c``: the shorthand, whose use is
    decided anew only when the next CPU is up). Where each vCPU has a thread, QEMU 7.2 wakes it for every such IPI to
    look at its APIC (``CPU_INTERRUPT_POLL``: ``apic_update_irq`` in ``hw/intc/apic.c``). One that comes between
    clearing that flag and looking for work (``cpu_handle_halt`` in ``accel/tcg/cpu-exec.c``) passes for work: the
    vCPU leaves its halt and runs the firmware from its first instruction, which resets the machine: seen in 4 guests
    of 51, and in none of 52 with one thread, which never interrupts itself so.

    Args:
        accel: kvm or tcg.
        vcpus: that it starts with.
        most: that it may have.
    """
    return f"{accel},thread=single" if accel == Accel.TCG and most > vcpus else accel


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, and why in one sentence; ``seconds`` is the length of the probe boot, 0 without one."""

    accel: Accel
    reason: str
    seconds: float = 0.0


def decide(
    emulator: Path,
    kernel: Path | None,
    initrd: Path | None,
    cache: Path,
    *,
    seconds: float = 25.0,
    device: Path = Path("/dev/kvm"),
) -> Verdict:
    """KVM if a probe boot under it reaches a shell in time, else TCG.

    Args:
        emulator: the ``qemu-system-*`` to ask.
        kernel: a kernel to boot; without one the answer is TCG, for nothing was proven.
        initrd: its initramfs; must stop at a shell for ``break=top`` (initramfs-tools does).
        cache: a JSON file of earlier verdicts, keyed by boot of this host, kernels and QEMU.
        seconds: how long the probe may take.
        device: the KVM device.
    """
    if not os.access(device, os.R_OK | os.W_OK):
        return Verdict(Accel.TCG, f"{device} is absent or not accessible")
    if kernel is None or initrd is None:
        return Verdict(Accel.TCG, "there is no kernel to prove KVM with")
    key = _key(emulator, kernel)
    known = _read(cache)
    if key in known:
        return known[key]
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that start together wait for the first one's boot
        known = _read(cache)
        if key not in known:
            known[key] = _probe(emulator, kernel, initrd, seconds)
            _write(cache, known)
    return known[key]


def _probe(emulator: Path, kernel: Path, initrd: Path, seconds: float) -> Verdict:
    argv: list[str] = [str(emulator), "-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "kvm"]
    argv += ["-cpu", "host", "-m", "512", "-smp", "2", "-display", "none", "-nic", "none", "-no-reboot"]
    argv += ["-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd)]
    argv += ["-append", "console=ttyS0 break=top panic=-1"]
    began = time.monotonic()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            seen = _await_marker(process, began + seconds)
        finally:
            process.kill()
    took = time.monotonic() - began
    if MARKER in seen:
        return Verdict(Accel.KVM, f"a probe boot reached a shell in {took:.1f} s", took)
    ended = process.returncode is not None and took < seconds
    said = seen.decode("utf-8", "replace").strip().splitlines()
    what = "ended early" if ended else f"did not reach a shell within {seconds:.0f} s"
    return Verdict(Accel.TCG, f"a probe boot under KVM {what}; it last said: {said[-1] if said else 'nothing'}", took)


def _await_marker(process: subprocess.Popen[bytes], until: float) -> bytes:
    output = process.stdout
    if output is None:
        raise QemuError("the probe has no output to read")
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while MARKER not in seen and (left := until - time.monotonic()) > 0:
            if selector.select(left):
                data = os.read(output.fileno(), 65536)
                if not data:
                    break
                seen = (seen + data)[-1_000_000:]
    return seen


def version(emulator: Path) -> str:
    """The first line of ``--version``.

    Raises:
        QemuError: it cannot be run.
    """
    try:
        done = subprocess.run([emulator, "--version"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise QemuError(f"{emulator} cannot be run: {error}") from error
    return done.stdout.decode("utf-8", "replace").splitlines()[0].strip()


def _key(emulator: Path, kernel: Path) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    parts = [boot, platform.release(), version(emulator), hashlib.sha256(kernel.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(cache: Path) -> dict[str, Verdict]:
    try:
        entries = json.loads(cache.read_bytes())
        return {
            key: Verdict(Accel(value["accel"]), value["reason"], value["seconds"]) for key, value in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # a cache: what cannot be read is probed again


def _write(cache: Path, verdicts: dict[str, Verdict]) -> None:
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
    temporary.write_text(json.dumps({key: asdict(value) for key, value in verdicts.items()}, indent=1))
    temporary.replace(cache)
