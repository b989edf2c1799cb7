"""Files of releases made for a test, I31 on them, and validations of them over real guests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.core import Deadline
from harness.lab.releases import Release
from harness.lab.releases.pinning import write_pins
from harness.lab.releases.preparing import pins
from tests.end_to_end.telling import CALIBRATED, SUITES


def pinned(file: Path) -> Path:
    """The file of a release, with the hashes of what it names."""
    found = Release.load(file)
    write_pins(found, pins(found, Deadline.after(60)))
    return file


def i31(run, file: Path, words: str = "release", *, host: str = "kvm", image: str = "debian12"):
    """An inner run of I31, or of those of its parts whose names hold the words."""
    where = (str(SUITES / "integration/test_release.py"), "--rootdir", str(SUITES.parent), "-k", words)
    options = ("--release", str(file), "--image", image, "--calibration", str(CALIBRATED))
    return run(*options, *where, host=host, timeout=3600)


def validate(file: Path, out: Path, *options: str, hours: int = 1) -> subprocess.CompletedProcess[str]:
    """``interop validate`` in the column of kvm, as a rehearsal; what both streams say stands in ``stdout``."""
    argv = [sys.executable, "-m", "harness.cli", "validate", str(file), "--host", "kvm", "--allow-twins"]
    argv += ["--out", str(out), *options, "--", "--calibration", str(CALIBRATED)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(argv, cwd=SUITES.parent, **streams, text=True, timeout=3600 * hours, check=False)
