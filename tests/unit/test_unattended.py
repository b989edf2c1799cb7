"""The examples for cron, systemd, Jenkins and GitLab: real checkers read them, and what they call is called."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import click
import pytest
from croniter import croniter

from harness.cli import interop
from harness.core import Deadline, Pending, wait_for
from harness.core.config import parse_yaml
from tests.unit.memory_host import furnish

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "configs" / "unattended"
TESTS = """
import pathlib
import pytest
from harness.core.waiting import pause

@pytest.mark.check("ACME-001")
def test_it_holds(host):
    pathlib.Path("held").touch()
    while pathlib.Path("hold").exists():
        pause(0.1)

@pytest.mark.check("ACME-002")
def test_it_fails(host):
    assert not host, "it does not"
"""


class Controller:
    """A folder that looks like /srv/interop, with a lab whose hosts need no hypervisor."""

    def __init__(self, place: Path) -> None:
        self.place = place
        options = furnish(place)
        (place / "configs" / "labs").mkdir(parents=True)
        shutil.move(place / "lab.yaml", place / "configs" / "labs" / "nightly.yaml")
        shutil.copytree(EXAMPLES, place, dirs_exist_ok=True)
        (place / ".venv").mkdir()
        (place / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        (place / "suites").mkdir()
        (place / "suites" / "test_inner.py").write_text(TESTS)
        (place / "pytest.ini").write_text(
            f"[pytest]\naddopts = {shlex.join(options[:2])} {options[-1]} --host first\ntestpaths = suites\n"
        )
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        paths = [str(place), *filter(None, [env.get("PYTHONPATH")])]
        self.env = env | {"PYTHONPATH": os.pathsep.join(paths), "INTEROP_STATE": str(place / "state")}
        self.env |= {"INTEROP_CACHE": str(place / "cache")}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            cwd=self.place,
            env=self.env,
            text=True,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def call(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def here(self, text: str) -> str:
        """An example's text with this folder for the one that it names."""
        return text.replace("/srv/interop", str(self.place))


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    return Controller(tmp_path_factory.mktemp("srv"))


def text(name):
    return (EXAMPLES / name).read_text()


def test_a_night_leaves_paragraph_junit_and_pages_and_ends_as_pytest_did(controller):
    status, output = controller.call("sh", "night.sh", "configs/labs/nightly.yaml")
    assert status == 1, output
    assert (
        (controller.place / "reports" / "summary.txt")
        .read_text()
        .startswith("interop, lab nightly: 1 of 2 need a look")
    )
    cases = ET.parse(controller.place / "reports" / "junit.xml").getroot().findall(".//testcase")
    assert sorted(case.get("name") for case in cases) == ["test_it_fails[first]", "test_it_holds[first]"]
    assert (controller.place / "reports" / "out" / "latest" / "report" / "matrix.html").exists()
    assert "failed ACME-002 it fails on first: it does not" in output


def test_a_night_that_cannot_begin_leaves_nothing_of_the_one_before(controller):
    """And makes no page of that."""
    (controller.place / "reports").mkdir(exist_ok=True)
    (controller.place / "reports" / "junit.xml").write_text("of last night")
    status, output = controller.call("sh", "night.sh", "configs/labs/none.yaml")
    assert status == 4
    assert "none.yaml" in output
    assert "nothing ran" in (controller.place / "reports" / "summary.txt").read_text()
    assert "of last night" not in (controller.place / "reports" / "junit.xml").read_text()
    assert "side by side" not in output


def test_a_night_that_is_stopped_still_makes_its_page(controller):
    """As systemd stops it, and timeout: a signal for the whole group."""
    (controller.place / "hold").touch()
    (controller.place / "held").unlink(missing_ok=True)
    # What was begun in the background of a script ignores Ctrl-C, and so do all that it begins.
    night = controller.start("env", "--default-signal=INT", "sh", "night.sh", "configs/labs/nightly.yaml")
    wait_for("a test to run", lambda: (controller.place / "held").exists() or Pending("none yet"), Deadline.after(60))
    os.killpg(night.pid, signal.SIGINT)
    try:
        output, _ = night.communicate(timeout=120)
    finally:
        (controller.place / "hold").unlink()
    assert night.returncode == 2, output
    assert "side by side" in output
    assert (controller.place / "reports" / "summary.txt").exists()


def cron_lines():
    lines = [
        line
        for line in text("interop.cron").splitlines()
        if line and not line.startswith("#") and "=" not in line.split()[0]
    ]
    return [re.fullmatch(r"((?:\S+ ){5})(\S+) (.+)", line).groups() for line in lines]


def test_cron_begins_them_and_what_it_calls_works(controller):
    """A line of six fields and a command in which no % ends it; both commands are carried out here."""
    lines = cron_lines()
    assert len(lines) == 2
    for when, user, command in lines:
        assert croniter.is_valid(when.strip())
        assert user == "interop"
        assert "%" not in command
    outputs = [controller.call("sh", "-c", controller.here(command)) for _, _, command in lines]
    assert outputs[0][0] == 0
    assert outputs[0][1].startswith("interop, lab nightly: 1 of 2 need a look")
    assert outputs[0][1].count("\n") == 1  # cron's mail is the paragraph
    assert outputs[1] == (0, "")
    assert "nothing to reap" in (controller.place / "reports" / "reap.log").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("unit", ["interop-night.service", "interop-night.timer", "interop-worker.service"])
def test_systemd_takes_the_units(controller, unit, tmp_path):
    """Its own checker, with every remark an error."""
    for name in EXAMPLES.glob("*.*e*r*"):
        (tmp_path / name.name).write_text(controller.here(name.read_text()))
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemds_checker_would_see_a_mistake(controller, tmp_path):
    """Or the test above could not fail."""
    spoilt = controller.here(text("interop-night.service")).replace("KillSignal", "KilSignal")
    (tmp_path / "interop-night.service").write_text(spoilt)
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "interop-night.service")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "KilSignal" in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_the_timer_begins_on_working_days():
    when = re.search(r"^OnCalendar=(.+)$", text("interop-night.timer"), re.MULTILINE)[1]
    done = subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, text=True, timeout=60, check=True)
    assert "Mon..Fri *-*-* 20:30:00" in done.stdout


def test_gitlabs_file_is_yaml_that_keeps_junit_and_summary():
    """Parsed as the harness parses its own; a job with what GitLab needs of it."""
    tree = parse_yaml(text("gitlab-ci.yml"), "gitlab-ci.yml")
    job = tree["night"]
    assert job["stage"] in tree["stages"]
    assert job["artifacts"]["reports"]["junit"] == "reports/junit.xml"
    assert job["artifacts"]["when"] == "always"
    assert set(job) <= {
        "stage", "tags", "rules", "resource_group", "timeout", "variables", "script", "after_script", "artifacts",
    }  # fmt: skip
    assert any("night.sh" in line for line in job["script"])


def groovy_blocks(source):
    """Names of blocks with their depth, by braces outside of strings and comments; fails where they do not match."""
    bare = re.sub(
        r"//[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", lambda found: '""' if found[0][0] != "/" else "", source
    )
    assert "'" not in bare
    open_, found = [], []
    for token in re.finditer(r"(\w+)(?:\([^(){}]*\))?\s*\{|[(){}\[\]]", bare):
        if token[1]:
            found.append((len([one for one in open_ if one == "{"]), token[1]))
            open_.append("{")
        elif token[0] in "([{":
            open_.append(token[0])
        else:
            assert open_, f"one bracket too many at {token.start()}"
            assert open_.pop() + token[0] in ("()", "[]", "{}")
    assert not open_
    return found


def test_the_jenkinsfile_is_a_declarative_pipeline():
    """Its brackets match and its sections are where Jenkins wants them; Jenkins itself is not here to ask."""
    blocks = groovy_blocks(text("Jenkinsfile"))
    assert [name for depth, name in blocks if depth == 0] == ["pipeline"]
    sections = [name for depth, name in blocks if depth == 1]
    assert sections == ["agent", "triggers", "options", "environment", "stages", "post"]
    with pytest.raises(AssertionError):
        groovy_blocks(text("Jenkinsfile").replace("stages {", "stages "))
    when = re.search(r"cron\('(.+)'\)", text("Jenkinsfile"))[1]
    assert croniter.is_valid(when.replace("H", "0"))


def calls():
    """What the examples call of the harness, as words."""
    called = re.compile(r"(?:bin/interop|^ *interop) ([^'|>;}&\n]*)", re.MULTILINE)
    return [
        pytest.param(shlex.split(call[1]), id=f"{path.name}: {call[1].strip()}")
        for path in sorted(EXAMPLES.iterdir())
        for call in called.finditer(path.read_text())
    ]


def test_the_examples_call_the_command_line():
    assert len(calls()) >= 5


@pytest.mark.parametrize("words", calls())
def test_the_command_line_knows_what_they_call(words):
    """Parsed as click would, and not carried out."""
    command, rest = interop, words
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, words
        command, rest = found, rest[1:]
    command.make_context("interop", rest)
