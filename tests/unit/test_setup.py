"""Setting up: what `make` installs is what the code needs, and no lock says where to download from."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def installed_by_make() -> set[str]:
    """The Debian packages of the Makefile's lists."""
    lists = re.findall(r"^(?:TEST_)?PACKAGES [:+]= (.*)$", MAKEFILE, re.MULTILINE)
    return set(re.findall(r"[a-z][a-z0-9.+-]+", " ".join(lists)))


def test_make_installs_every_package_the_code_asks_for():
    """`need(tool, package)` names a Debian package; the Makefile's list holds it."""
    asked = {}
    for path in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "id", getattr(getattr(node, "func", None), "attr", ""))
            if isinstance(node, ast.Call) and name == "need" and len(node.args) == 2:
                package = node.args[1]
                if isinstance(package, ast.Constant):
                    asked[package.value] = path.relative_to(ROOT)
    assert asked, "no call of need(tool, package) was found: this test looks in the wrong place"
    assert {package: where for package, where in asked.items() if package not in installed_by_make()} == {}


def test_the_locks_hold_hashes_and_no_download_addresses():
    """Where packages come from is each site's own business."""
    for file, least in (("requirements.txt", 30), ("requirements-go.txt", 1), ("requirements-kerberos.txt", 2)):
        lock = (ROOT / file).read_text(encoding="utf-8")
        assert "http" not in lock
        pins = re.findall(r"^[a-z0-9-]+==[^\n]*(?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)+", lock, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^[a-z0-9-]+==", lock, re.MULTILINE)) >= least
    npm = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in npm
    assert npm.count('"integrity"') > 50


def test_no_text_says_where_packages_come_from():
    """Not a lock, a configuration, the Makefile nor a page: each site has its own mirrors."""
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "registry." + "npmjs", "proxy." + "golang", "sum." + "golang"]
    hosts += ["static.crates" + ".io", "repo1." + "maven", "deb." + "debian.org", "security." + "debian.org"]
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in kept.split("\0") if name] or [
        path for path in ROOT.rglob("*") if path.suffix in {".txt", ".toml", ".yaml", ".json", ".md", ".py"}
    ]
    found = {}
    for path in files:
        if path.is_file() and (named := [host for host in hosts if host.encode() in path.read_bytes()]):
            found[path.relative_to(ROOT)] = named
    assert len(files) > 500
    assert found == {}


def test_continuous_integration_runs_what_people_run():
    """`.ci/run` is `make test`, can be executed, and says what it is: a test without its Go fails there."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "make test"
    assert 'export CI="${CI:-true}"' in lines


def test_everything_begins_with_the_twins_being_built():
    """Where they cannot be, `make test` fails before any test that would only be skipped without them."""
    done = subprocess.run(
        ["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    built = done.stdout.index("-m harness.twins.vsphere.build")
    for tests in ("tests/unit", "tests/twins", "tests/contract", "tests/end_to_end"):
        assert built < done.stdout.index(f" {tests}"), tests


def test_every_target_says_what_it_does():
    """`make help` shows all that is meant for people, with one line each."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    shown = set(re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE))
    assert {"setup", "run", "test", "bench", "lock", "lint", "unit", "docs", "clean", "help"} <= shown
    for target in shown:
        assert f".PHONY: {target}" in MAKEFILE


def test_nothing_but_make_installs_packages_or_uses_sudo():
    """Not the library, not the suites."""
    for folder in ("harness", "fixtures", "suites"):
        for path in (ROOT / folder).rglob("*.py"):
            words = path.read_text(encoding="utf-8")
            assert "apt-get install" not in words, path
            assert not re.search(r"\[[\"']sudo[\"'](?!, [\"']-n)", words), path
