"""docs/nightly.md from its first command to its last: what can be carried out is, the rest is asked of its program.

The lab is one whose hosts need no hypervisor; what would change this machine is done below a folder, or looked up.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import interop
from tests.unit.announcing import announce
from tests.unit.test_unattended import ROOT, Controller

PAGE = (ROOT / "docs" / "nightly.md").read_text()
COMMANDS = [
    line[2:]
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
TEST = """
import pytest

@pytest.mark.smoke
@pytest.mark.check("ACME-001")
def test_it_holds(host): ...

@pytest.mark.check("ACME-002")
def test_it_takes_the_night(host): ...
"""
ELSEWHERE = {"interop image build debian12": "builds an image, which tests/end_to_end does"}
MAY_END = {"interop doctor": (0, 1), "interop report": (0, 1), "interop compare": (0, 1)}
"""By what is missing on this machine, a renderer say, or by what changed."""


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    one = Controller(tmp_path_factory.mktemp("srv"))
    for path in (one.place / "configs" / "labs" / "nightly.yaml", one.place / "pytest.ini"):
        path.write_text(path.read_text().replace("first", "rhel9-a"))
    (one.place / "suites" / "test_inner.py").write_text(TEST)
    (one.place / "night.sh").unlink()
    shutil.copytree(ROOT / "configs" / "unattended", one.place / "configs" / "unattended")
    shutil.copytree(ROOT / "docs" / "exporter", one.place / "exporter")
    announce(one.place, "interop-csv", "[interop.exporters]\ncsv = interop_csv:export\n")
    shutil.copy(one.place / "exporter" / "interop_csv.py", one.place)
    units = one.place / "root" / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in one.place.glob("interop-*.*e*r*"):
        shutil.copy(unit, units)
    return one


def run(argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, **options)


def knows(words, options):
    """Whether a program's own help names these options."""
    done = run([words[0], "--help"])
    return [option for option in options if option not in done.stdout + done.stderr]


def carried_out(controller, words):
    """What became of a command: its exit status, and what it said."""
    program = words[0]
    options = [word for word in words if word.startswith("--")]
    if program == "apt-get":
        # Lists of packages are the machine's; what the options mean is the same without.
        done = run(["apt-get", "--simulate", *(["check"] if words[1:] == ["update"] else words[1:])])
        no_lists = "Unable to locate package" in done.stderr or "no installation candidate" in done.stderr
        return (0 if no_lists else done.returncode), done.stderr
    if program in ("useradd", "chown"):
        return len(knows(words, options)), f"unknown of {options}"
    if program == "git":
        target = controller.place / "clone"
        done = run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(target)])
        return done.returncode, done.stderr
    if program == "make":
        done = run(["make", "--dry-run", *words[1:]], cwd=ROOT)
        return done.returncode, done.stderr
    if program == "systemctl":
        done = run(
            ["systemctl", "--root", str(controller.place / "root"), *[word for word in words[1:] if word != "--now"]]
        )
        return done.returncode, done.stderr
    done = run([controller.here(word) for word in words], cwd=controller.place, env=controller.env)
    return done.returncode, done.stdout + done.stderr


def test_every_command_of_the_page_in_its_order(controller, monkeypatch):
    """The page as somebody would follow it, in one go: each finds what the ones before it left."""
    monkeypatch.chdir(controller.place)
    monkeypatch.syspath_prepend(str(controller.place))
    for name in ("INTEROP_STATE", "INTEROP_CACHE", "PYTHONPATH"):
        monkeypatch.setenv(name, controller.env[name])
    assert len(COMMANDS) >= 20
    done = []
    for command in COMMANDS:
        words = shlex.split(command, comments=True)
        if command in ELSEWHERE:
            continue
        if words[:2] == ["interop", "compare"]:
            older = min(
                path
                for path in (controller.place / "reports" / "out").iterdir()
                if path.is_dir() and not path.is_symlink()
            )
            older.rename(older.with_name("20260301-a"))
        if words[0] == "interop":
            result = CliRunner().invoke(interop, words[1:], env=controller.env)
            status, said = result.exit_code, f"{result.output}{result.exception or ''}"
        elif words[0] == "pytest":
            status, said = carried_out(controller, [str(controller.place / ".venv/bin/pytest"), *words[1:]])
        else:
            status, said = carried_out(controller, words)
        assert status in MAY_END.get(" ".join(words[:2]), (0,)), f"{command}\n{said}"
        done.append(command)
    assert set(done) | set(ELSEWHERE) == set(COMMANDS)
    place = controller.place
    assert (place / "nights.csv").read_text().splitlines()[1].split(",")[1:3] == ["ACME-001", "rhel9-a"]
    assert (place / "root/etc/systemd/system/timers.target.wants/interop-night.timer").is_symlink()
    assert "all is well; 1 tests" in (place / "reports" / "summary.txt").read_text()


def test_the_table_of_exit_statuses_is_whole():
    """Pytest's own are those that it knows, and ours the ones in the code."""
    from harness.nights.work import _TAKEN
    from harness.report.summary import FLAKY_STATUS

    told = {int(number) for number in re.findall(r"^\| `pytest` \| (\d+) \|", PAGE, re.MULTILINE)}
    assert told == {int(code) for code in pytest.ExitCode} | {FLAKY_STATUS}
    assert f"| `interop worker` | {_TAKEN} |" in PAGE


def test_files_that_the_page_names_are_there():
    """Each example of the folder is in it, too."""
    named = set(re.findall(r"configs/unattended/([\w.-]+)", PAGE))
    assert named == {path.name for path in (ROOT / "configs" / "unattended").iterdir()}
    assert os.access(ROOT / "configs" / "unattended" / "night.sh", os.R_OK)
    assert Path(ROOT / "docs" / "nights.md").exists()
