"""A place for inner runs of pytest on a backend called ``tiny``: announced, with a lab, an image and own folders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.unit.announcing import announce

OPTIONS = ("-p", "no:cacheprovider", "--report-dir=out", "--lab=lab.yaml", "--image=tiny.qcow2", "-v")
"""The options of pytest that use them."""


def furnish(place: Path, backend: str, files: dict[str, str]) -> dict[str, str]:
    """Put all of it into ``place``.

    Args:
        place: an empty folder.
        backend: the source of the backend's module.
        files: what else lies there, by name; ``lab.yaml`` among them.

    Returns:
        The environment that an inner run needs.
    """
    announce(place, "interop-tiny", "[interop.backends]\ntiny = interop_tiny\n")
    for name, text in ({"interop_tiny.py": backend, "tiny.yaml": "rules: [{}]\n"} | files).items():
        (place / name).write_text(text)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "tiny.qcow2", "1M"], cwd=place, check=True)
    paths = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return env | {"PYTHONPATH": paths, "INTEROP_STATE": str(place / "state"), "INTEROP_CACHE": str(place / "cache")}
