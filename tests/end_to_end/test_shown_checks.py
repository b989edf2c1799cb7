"""The checks that the documentation shows pass on a real guest, as they stand there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shown_checks():
    """Every Python block of the pages."""
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]):
        yield from re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_checks_in_the_documentation_pass(run, pytester, image):
    """One run of them all; the vCPU counts share nothing, so this is mostly booting."""
    sources = list(shown_checks())
    assert len(sources) >= 3
    for number, source in enumerate(sources):
        (pytester.path / f"test_shown_{number}.py").write_text(source)
    done = run("--image", image.digest)
    assert done.status == pytest.ExitCode.OK, done.output
    assert done.checks("passed") >= {"ACME-001", "ACME-002", "ACME-003"}
