"""A backend for inner runs of pytest whose hosts need no hypervisor: their facts come from the lab file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.unit.announcing import announce

BACKEND = """\
import os
from harness.backends.model import PublishedImage
from harness.backends.views import HostFacts
from harness.backends.registry import HostSettings
from harness.core import LabError, Size


class Settings(HostSettings):
    version: str = "8.0"
    build: str = "17763.1"
    down: bool = False


class Host:
    def __init__(self, settings, name):
        self.settings, self.name = settings, name

    def facts(self, deadline):
        settings = self.settings
        return HostFacts("Memory Host", settings.version, settings.build, "kvm", 2, Size(1 << 30), 8)

    def capabilities(self, shape):
        return frozenset()

    def publish(self, image, deadline):
        return PublishedImage(image.digest, "handle")

    def owned(self, deadline, run=None):
        if os.path.exists(f"dead-{self.name}"):  # what a test makes, to have this host die
            with open(f"asked-{self.name}", "a") as file:
                file.write(f"within {deadline.seconds:.0f} s\\n")
            raise LabError("nobody answers any more", host=self.name)
        return []

    def close(self):
        pass


def connect(settings, context):
    if settings.down:
        raise LabError("nobody answers", host=context.host)
    return Host(settings, context.host)
"""
LAB = """\
hosts:
  first: {{backend: kvm{first}}}
  second: {{backend: kvm{second}}}
  other: {{backend: kvm, pool: second{second}}}
networks: {{management: {{kind: network, source: x, subnet: 10.78.0.0/16, nat: 127.78.0.0/16}}}}
"""


def furnish(place: Path, *, first: str = "", second: str = "") -> list[str]:
    """Put backend, lab and image into ``place``, which must be on PYTHONPATH.

    It is called ``kvm``, for which there are files of expectations, and stands before the real one.

    Args:
        place: an empty folder.
        first: more keys of the first host, as ``, version: 8.0.3``.
        second: more keys of the second host, and of the other one in its pool.

    Returns:
        The options of pytest that use them.
    """
    (place / "memory_backend.py").write_text(BACKEND)
    announce(place, "memory-backend", "[interop.backends]\nkvm = memory_backend\n")
    (place / "lab.yaml").write_text(LAB.format(first=first, second=second))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "tiny.qcow2", "1M"], cwd=place, check=True)
    return ["-p", "no:cacheprovider", "--report-dir=out", "--lab=lab.yaml", "--image=tiny.qcow2"]
