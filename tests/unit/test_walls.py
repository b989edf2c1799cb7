"""The arrows between rooms are enforced: a planted import that points the wrong way is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = [
    pytest.param("harness/core", "import harness.lab", "Arrows point one way", id="core-knows-no-room"),
    pytest.param("harness/backends/kvm", "import harness.guest", "Arrows point one way", id="backends-know-no-guest"),
    pytest.param("harness/guest", "import harness.lab", "Arrows point one way", id="guest-knows-no-lab"),
    pytest.param("harness/report", "import harness.plugin", "Arrows point one way", id="report-knows-no-plugin"),
    pytest.param("harness/plugin", "import interop_fixtures", "Arrows point one way", id="plugin-knows-no-fixtures"),
    pytest.param("harness/report", "import pytest", "Only the plugin", id="report-knows-no-pytest"),
    pytest.param("harness/lab", "import pytest", "Only the plugin", id="lab-knows-no-pytest"),
    pytest.param("harness/qemu", "import harness.core", "qemu is a leaf", id="qemu-knows-none-of-us"),
    pytest.param("harness/lab", "import libvirt", "Libvirt is known", id="lab-knows-no-libvirt"),
    pytest.param("fixtures/interop_fixtures", "import libvirt", "Libvirt is known", id="fixtures-know-no-libvirt"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source and its contracts, to plant imports in."""
    copy = tmp_path_factory.mktemp("house")
    for folder in ("harness", "fixtures"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def contracts(house: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says about the copy; the path comes first, or it would judge the installed source."""
    program = (
        "import sys; sys.path[:0] = ['.', 'fixtures']; from importlinter.cli import lint_imports_command as c; c()"
    )
    argv = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(argv, cwd=house, capture_output=True, text=True, timeout=120, check=False)


def test_the_contracts_hold(house):
    """The source as it is breaks none."""
    result = contracts(house)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("room", "line", "contract"), FORBIDDEN)
def test_a_planted_import_is_found(house, room, line, contract):
    """Each wall bites where it is meant to."""
    planted = house / room / "planted.py"
    planted.write_text(f"{line}\n")
    try:
        result = contracts(house)
    finally:
        planted.unlink()
    assert result.returncode == 1, result.stdout
    broken = [text for text in result.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(text.startswith(contract) for text in broken), result.stdout
