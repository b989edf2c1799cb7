"""The digest of a check's source: what changes it, what does not, and where it is kept."""

import json
import os
import sys
import textwrap

import pytest

from harness import __version__
from harness.report import cells
from tests.unit.memory_host import furnish

pytest_plugins = ["pytester"]
TEST = '''
import pytest
import whole
from helpers import settle
from harness.core import waiting

LIMIT = 2
OTHER = 3


@pytest.fixture
def prepared(host):
    return LIMIT


@pytest.mark.check("ACME-001")
def test_it_holds(host):
    """It does."""
    assert OTHER


@pytest.mark.check("ACME-002")
def test_a_fixture(prepared):
    assert prepared


@pytest.mark.check("ACME-003")
def test_a_helper(host):
    assert settle(host)


@pytest.mark.check("ACME-004")
def test_a_module(host):
    assert whole.fine(host)


@pytest.mark.check("ACME-005")
@pytest.mark.parametrize("n", [1, 2])
def test_itself(host, n):
    assert n


@pytest.mark.check("ACME-006")
@pytest.mark.usefixtures("ready")
def test_a_fixture_from_elsewhere(host):
    assert host
'''
CONFTEST = """
import pytest

@pytest.fixture
def ready():
    return 1

@pytest.fixture
def not_used():
    return 1
"""
HELPERS = """
def settle(host):
    return inner(host)

def inner(host):
    return host

def unused():
    return 1
"""
WHOLE = """
def fine(host):
    return host
"""


@pytest.fixture
def digests(pytester, monkeypatch):
    """Runs the inner tests with these replacements made, and reads the digest of each check from its result."""
    place = pytester.path
    options = furnish(place)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("INTEROP_STATE", str(place / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(place / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(*changes, name="test_inner.py"):
        texts = {name: TEST, "helpers.py": HELPERS, "whole.py": WHOLE, "conftest.py": CONFTEST}
        for where, old, new in changes:
            file = name if where == "test" else where
            assert old in texts[file]
            texts[file] = texts[file].replace(old, new)
        for file in place.glob("test_*.py"):
            file.unlink()
        for file, text in texts.items():
            (place / file).write_text(textwrap.dedent(text))
        done = pytester.runpytest_subprocess(*options, "--host=first", "-p", "no:randomly", timeout=120)
        assert done.ret == 0
        found = cells.read(place / "out" / "latest").cells
        assert {cell.harness for cell in found} == {__version__}
        return {cell.check: cell.source for cell in found}

    return run


def test_a_digest_is_of_what_the_check_does_and_of_nothing_else(digests):
    """Comments, docstrings, places and what it does not use change nothing; all else does, however far away."""
    before = digests()
    assert {one.partition(":")[0] for one in before.values()} == {"1"}
    assert len(set(before.values())) == len(before) == 6
    after = digests(
        ("test", '    """It does."""\n', '    """It surely does."""\n\n    # and how\n'),
        ("test", "OTHER = 3", "OTHER = 3  # three"),
        ("helpers.py", "return 1", "return 2"),
        ("test", "LIMIT = 2", "LIMIT = 4"),
        ("helpers.py", "    return host", "    return not not host"),
        ("whole.py", "return host", "return bool(host)"),
        ("test", "[1, 2]", "[1, 3]"),
        ("conftest.py", "def ready():\n    return 1", "def ready():\n    return 2"),
        name="test_moved.py",
    )
    assert {check for check in before if before[check] == after[check]} == {"ACME-001"}


def test_a_killed_tests_result_says_of_which_source_it_was(digests, pytester):
    """The note on disk, from which its result is made, holds it."""
    from harness.report.results import Running, settle

    results = pytester.path / "results"
    from harness.report.identity import Identity

    Running(results, "gw0").begin(Identity("ACME-001", "it holds", "inner", "first", source="1:abc"))
    note = results / ".running" / "gw0.json"
    told = json.loads(note.read_text())
    note.write_text(json.dumps(told | {"pid": 2**22 + 1}))
    settle(results)
    (cell,) = cells.read(results).cells
    assert (cell.source, cell.harness) == ("1:abc", __version__)
