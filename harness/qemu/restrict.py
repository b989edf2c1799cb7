"""An emulator that lets no guest out: the real one behind :mod:`harness.qemu.wrapper`.

QEMU's user network (slirp) forwards whatever a guest sends, to the services on this machine's own loopback too, even
for guests without a default route. Its option ``restrict`` ends that and leaves ``hostfwd`` working, but libvirt 9 has
no attribute for it: so ``<emulator>`` names a wrapper that adds it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

from harness.qemu import wrapper
from harness.qemu.errors import QemuError


def install(folder: Path, emulator: Path) -> Path:
    """Write the wrapper of ``emulator`` into ``folder`` and return its path.

    libvirt remembers what an emulator can do by path and change time. So the wrapper's name carries the real
    emulator's identity: after an upgrade of QEMU it is another file, and nothing stale is believed.

    Raises:
        QemuError: there is no such emulator.
    """
    try:
        status = emulator.stat()
    except OSError as error:
        raise QemuError(f"{emulator} cannot be used as emulator: {error}") from error
    words = shlex.join([sys.executable, "-IS", wrapper.__file__, str(emulator)])
    text = f'#!/bin/sh\nexec {words} "$@"\n'
    mark = hashlib.sha256(f"{text}{status.st_ino} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    path = folder / f"{emulator.name}-{mark}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{path.name}.{os.getpid()}"
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(path)
    return path
