"""The documentation is true: its commands exist, its code runs, its links lead somewhere."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import click
import pytest

from harness.cli import interop
from harness.core.config import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; shown in a test's id by page and line."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages):
    """Every fenced block in one of these languages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
            if match[2] in languages:
                line = text.count("\n", 0, match.start()) + 2
                found.append(Block(page, line, match[2], dedent(match[3])))
    return found


def commands(program):
    """Every `$ program ...` line of the pages, as words, named by page and line."""
    found = []
    for block in blocks("console"):
        for number, line in enumerate(block.text.splitlines()):
            words = shlex.split(line[2:].removesuffix("\\"), comments=True) if line.startswith("$ ") else []
            if words and Path(words[0]).name == program:
                where = f"{block.page.relative_to(ROOT)}:{block.line + number}"
                found.append(pytest.param(words, id=where))
    assert found, f"no page shows {program}"
    return found


def test_console_blocks_show_only_programs_that_are_checked():
    """A command that no test below knows would be believed unseen."""
    known = {"make", "interop", "pytest", "pip", "python3.11"}
    known |= {"govc", "openssl"}  # run by test_vsphere_page
    known |= {"apt-get", "git", "useradd", "chown", "cp", "sh", "systemctl"}  # by test_nightly_page
    for block in blocks("console", "sh", "bash", "shell"):
        assert block.language == "console", f"{block}: write ```console and `$ command`"
        for line in block.text.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                assert Path(shlex.split(line[2:])[0]).name in known, f"{block}: {line}"


@pytest.mark.parametrize("words", commands("make"))
def test_make_knows_the_target(words):
    """A dry run prints what it would do."""
    argv = ["make", "--dry-run", "--no-print-directory", *words[1:]]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def resolve(words):
    """The click command that these words call, and what is left of them."""
    command, rest = interop, list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"`interop {shlex.join(words)}`: there is no {rest[0]!r}"
        command, rest = found, rest[1:]
    return command, rest


@pytest.mark.parametrize("words", commands("interop"))
def test_interop_understands_the_command_line(words):
    """It is parsed as click would, and not carried out."""
    command, rest = resolve(words[1:])
    if "--help" not in rest:
        command.make_context("interop", rest)


def inline(program):
    """Every command of `program` that a page names in running text."""
    found = set()
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        found |= {line for line in re.findall(r"`([^`\n]+)`", prose) if line.split()[0] == program}
    return sorted(found)


@pytest.mark.parametrize("line", inline("interop"))
def test_interop_commands_in_running_text_exist(line):
    """`interop image build` and the like."""
    words = [word for word in shlex.split(line)[1:] if not re.fullmatch(r"\W|[A-Z]+|\[.*\]", word)]
    resolve(words)


@pytest.mark.parametrize("line", inline("make"))
def test_make_targets_in_running_text_exist(line):
    """`make bench` and the like."""
    (target, *_) = line.split()[1:] or ["help"]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line


@pytest.mark.parametrize("words", commands("pytest"))
def test_pytest_knows_the_options(words, pytest_options):
    """Ours and pytest's own."""
    for word in words[1:]:
        if word.startswith("-"):
            option = word.split("=")[0]
            assert option in pytest_options, f"{shlex.join(words)}: {option}"


@pytest.fixture(scope="module")
def pytest_options():
    """Every option that `pytest --help` shows here."""
    argv = [sys.executable, "-m", "pytest", "--help"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", done.stdout))


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_is_collected_by_pytest(block, tmp_path):
    """A test that is shown can be copied: it imports, its markers and fixtures exist, and each host gets one."""
    (tmp_path / "test_shown.py").write_text(block.text)
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--strict-markers", "-p", "no:cacheprovider"]
    argv += ["--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in re.findall(r"^def (test_\w+)", block.text, re.MULTILINE):
        assert f"::{name}[" in done.stdout, f"{block}: {name} was not multiplied by hosts"


def test_python_has_the_types_it_claims(tmp_path):
    """Mypy reads every shown check as strictly as the suites: an attribute that does not exist is found."""
    for number, block in enumerate(blocks("python")):
        (tmp_path / f"test_shown_{number}.py").write_text(f"# {block}\n{block.text}")
    argv = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_files_that_are_shown_are_valid(block, tmp_path):
    """A lab, its own limits, known issues and an image recipe load; other YAML parses."""
    tree = parse_yaml(block.text, str(block))
    assert tree is not None
    if "candidate" in tree:
        from harness.lab.releases import Release

        assert Release.read(block.text, tmp_path / "shown.yaml").must_change
    elif "hosts" in tree and "networks" not in tree:
        from harness.lab.calibration import load_calibration
        from harness.lab.load import read_lab

        lab = "hosts: {esxi8: {backend: vsphere, twin: true}}\nnetworks: {management: {kind: user}}\n"
        (tmp_path / "shown.yaml").write_text(block.text)
        assert load_calibration(tmp_path / "shown.yaml", read_lab(lab, tmp_path / "lab.yaml")).said.hosts
    elif "hosts" in tree:
        from harness.lab import load_lab

        (tmp_path / "shown.yaml").write_text(block.text)
        assert load_lab(tmp_path / "shown.yaml").hosts
    if "known" in tree:
        from harness.lab.known_issues import load_known_issues

        (tmp_path / "shown.yaml").write_text(block.text)
        assert load_known_issues(tmp_path / "shown.yaml").issues
    if "summary" in tree and "candidate" not in tree:
        from harness.image.recipe import load

        (tmp_path / "shown.yaml").write_text(block.text)
        assert load(tmp_path / "shown.yaml").recipe.summary


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    """Inside the repository; the outside is not asked."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_named_in_running_text_exist(page):
    """`harness/core/waiting.py` and the like."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    rooms = "harness|suites|fixtures|configs|tests|docs|benchmarks|reports/templates"
    for path in re.findall(rf"`((?:{rooms})/[\w./-]*)`", prose):
        if not re.search(r"\b[A-Z]{3,}\b", path.removesuffix(".md")):  # NAME stands for a name
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_pages_that_come_from_the_code_are_up_to_date():
    """`make docs` writes them."""
    argv = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def page(name):
    """The text of a page below docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_marker_and_fixture_is_explained():
    """Whoever writes a check finds them all on one page."""
    import interop_fixtures

    from harness.plugin.demand import MARKERS

    fixtures = {name for name, value in vars(interop_fixtures).items() if "fixture" in type(value).__name__.lower()}
    assert {"guest", "guests", "host"} <= fixtures
    for name in {marker.partition("(")[0] for marker in MARKERS} | fixtures:
        assert re.search(rf"^\| `{name}[`(]", page("writing-checks.md"), re.MULTILINE), name


def test_every_setting_of_the_kvm_backend_is_explained():
    """With its default."""
    from harness.backends.kvm import Settings

    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page("kvm-host.md"), re.MULTILINE))
    assert set(Settings.model_fields) == set(rows) - {"uri"} | {"uri"}
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            assert rows[name].strip("` ") == re.sub(r"\.0$", "", str(field.default)), name


def test_every_command_is_in_the_changelog_or_a_page():
    """A command nobody reads of is a command nobody has."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    for name in interop.list_commands(click.Context(interop)):
        assert f"interop {name}" in text, name


def test_every_option_of_a_run_is_in_a_page(pytest_options):
    """`--lab` and the like."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    from harness.plugin import options

    for name in re.findall(r'"(--[a-z-]+)"', Path(options.__file__).read_text(encoding="utf-8")):
        assert name in pytest_options
        assert name in text, name
