"""What a guest wrote is shown on the terminal and in files, and obeyed by neither."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from tests.unit.memory_host import furnish

TESTS = r"""
import pytest
from harness.core import GuestError, LabError

TITLE, CLEAR, BELL, BACK, TURNED = "\x1b]0;owned\x07", "\x1b[2J\x1b[31m", "\a", "\rpassed", "\u202egnp.exe"
SAID = TITLE + "panic" + CLEAR + " in" + BELL + BACK + TURNED + " <script>alert(1)</script>\x9b0m"

@pytest.mark.check("ACME-001")
def test_a_guest_says_why(host):
    raise GuestError(f"its console said {SAID}", host=host.name)

@pytest.mark.check("ACME-002")
def test_a_message_quotes_it(host):
    assert host is None, SAID

@pytest.mark.check("ACME-003")
def test_it_is_printed(host):
    print(SAID)
    raise LabError(SAID, host=host.name)
"""
# What a terminal obeys, or what makes text read otherwise than it is; colours are pytest's own.
OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r|\x1b(?!\\[[0-9;]*m)")


@pytest.fixture(scope="module", params=["one process", "workers"])
def place(request, tmp_path_factory):
    """An inner run; the folder of it, with its output."""
    place = tmp_path_factory.mktemp("hostile")
    options = furnish(place)
    (place / "test_inner.py").write_text(TESTS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])}
    env |= {"INTEROP_STATE": str(place / "state"), "INTEROP_CACHE": str(place / "cache")}
    more = ["-n", "2"] if request.param == "workers" else []
    argv = [sys.executable, "-m", "pytest", *options, "--junitxml=junit.xml", "--summary-file=paragraph.txt"]
    done = subprocess.run(
        [*argv, "--host", "first", *more], cwd=place, env=env, capture_output=True, timeout=120, check=False
    )
    (place / "output.txt").write_bytes(done.stdout + done.stderr)
    return place


def test_the_terminal_shows_it_and_obeys_nothing(place):
    output = (place / "output.txt").read_bytes().decode()
    assert output.count("panic in") >= 3
    assert OBEYED.findall(output) == []


def test_nor_does_whoever_prints_the_paragraph_or_the_lines(place):
    folder = place / "out" / "latest"
    for text in ((place / "paragraph.txt").read_text(), (folder / "results.jsonl").read_text()):
        assert "panic" in text
        assert OBEYED.findall(text) == []
    found = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    assert sorted(one["status"] for one in found if "check" in one) == ["failed", "guest", "lab"]


def test_junit_is_xml_all_the_same(place):
    """And what looked like a script is text in it."""
    root = ET.parse(place / "junit.xml").getroot()
    assert "<script>alert(1)</script>" in "".join(one.get("message", "") for one in root.iter("failure"))
