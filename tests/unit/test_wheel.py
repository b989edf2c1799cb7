"""The wheel: what people who keep their suites elsewhere install."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIBLINGS = {"allure-python-commons", "attrs", "pydantic-core"}
"""Halves of what is required: allure-pytest and pydantic pin theirs exactly; Allure's model is made of attrs."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, fit for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("site")
    wheel.extractall(folder)
    return folder


def ask(installed: Path, program: str) -> str:
    """What a Python prints that finds the wheel's modules before the checkout's."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=installed,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_library_and_the_fixtures_are_inside(wheel):
    """Every module of both packages, and the mark that they are typed."""
    names = set(wheel.namelist())
    for source, inside in (("harness", "harness"), ("fixtures/interop_fixtures", "interop_fixtures")):
        for path in (ROOT / source).rglob("*.py"):
            assert f"{inside}/{path.relative_to(ROOT / source)}" in names
        assert f"{inside}/py.typed" in names


def test_configurations_are_package_data(wheel):
    """Labs, images and expectations come along."""
    names = set(wheel.namelist())
    shipped = [path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")]
    assert shipped
    assert {f"harness/{path}" for path in shipped} <= names


def test_the_renderers_settings_are_package_data(wheel):
    """A report is rendered from an installed harness as from a checkout, and generated output stays out."""
    shipped = {f"harness/reports/{path.name}" for path in (ROOT / "reports").iterdir() if path.is_file()}
    assert shipped
    assert {name for name in wheel.namelist() if name.startswith("harness/reports/")} == shipped


def test_suites_and_tests_stay_out(wheel):
    """A suite is a product's own business; the wheel would force ours on everybody."""
    rooms = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
    assert rooms == {"harness", "interop_fixtures"}


def test_pytest_finds_the_plugin_and_the_fixtures(wheel):
    """Both are entry points, and so are the command and the backend."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    points = ConfigParser(delimiters=("=",))
    points.read_string(wheel.read(name).decode())
    assert dict(points["pytest11"]) == {"interop": "harness.plugin", "interop_fixtures": "interop_fixtures"}
    assert points["console_scripts"]["interop"] == "harness.cli:main"
    assert points["interop.backends"]["kvm"] == "harness.backends.kvm"


def test_an_installed_harness_finds_its_configurations(installed):
    """Not those of some checkout."""
    found = ask(installed, "from harness.core import paths; print(paths.configs())")
    assert Path(found) == installed / "harness" / "configs"


def test_an_installed_harness_speaks_without_libvirt(installed):
    """The command line and the registry load no backend's own requirements."""
    program = (
        "import sys; sys.modules['libvirt'] = None\n"
        "import harness.plugin, interop_fixtures, harness.cli\n"
        "from harness.backends import registry; print(*registry.names())"
    )
    assert "kvm" in ask(installed, program)


def imported(folder):
    """The top-level names that modules below a folder import."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], path) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0], path


def canonical(name):
    """A distribution's name as packaging tools compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_imported_is_required():
    """No module lives on what another package happens to bring along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    required = {canonical(re.split(r"[^\w.-]", requirement)[0]) for requirement in wanted}
    providers = packages_distributions()
    ours = {"harness", "interop_fixtures", "_pytest"}
    for name, path in chain(imported(ROOT / "harness"), imported(ROOT / "fixtures")):
        if name not in sys.stdlib_module_names | ours:
            distributions = {canonical(found) for found in providers.get(name, [name])}
            assert distributions & (required | SIBLINGS), f"{path.relative_to(ROOT)} imports {name}"


def test_the_licence_comes_along(wheel):
    """Apache-2.0, in full."""
    (name,) = (name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
    assert b"Apache License" in wheel.read(name)
