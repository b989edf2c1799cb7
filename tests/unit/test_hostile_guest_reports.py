"""A whole run whose guest words everything it may word as badly as it can: no result is lost, no page obeys it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.report import beside, compared
from harness.report.cells import read
from harness.report.comparing import compare
from harness.report.environment import HostRecord, RunRecord, write
from harness.report.matrix import table
from harness.report.matrix.page import render
from harness.report.page import outside_requests
from harness.report.remarks import Remarks, described
from harness.report.visible import LINE, MESSAGE, line, marked, visible
from tests.unit.memory_host import furnish
from tests.unit.report_runs import result, run

SAID = (
    "<script>alert(1)</script>\"><img src=x onerror=alert(1)>' onload='alert(1) ](javascript:alert(1)) "
    "[log in](http://evil.test) ![](http://evil.test/x.png) \0 \udcff \ud800 \u202egnp.exe \u2028 "
    "\x1b]0;owned\a\x1b[2J ../../../../etc/passwd %2e%2e%2f {{ 7*7 }} ${HOME} $(id) "
)
TESTS = r"""
import allure
import pytest
from harness.core import GuestError, LabError

SAID = {said}
TRIES = []

@pytest.mark.check("ACME-001")
def test_the_guest_is_lost(host):
    raise GuestError(SAID + "\nand a second line", host=host.name)

@pytest.mark.check("ACME-002")
def test_the_product_fails(host):
    assert SAID == "", SAID

@pytest.mark.check("ACME-003")
def test_the_lab_fails_and_then_does_not(host):
    TRIES.append(None)
    if len(TRIES) == 1:
        raise LabError(SAID, host=host.name)

@pytest.mark.check("ACME-004")
def test_it_is_skipped(host):
    pytest.skip(SAID)

@pytest.mark.check("ACME-005")
@pytest.mark.parametrize("name", [SAID, "n" * 200, "a\nb", "../../x", "/etc/passwd", ".", "\0"])
def test_names_are_of_any_form(host, measure, name):
    allure.attach(SAID.encode("utf-8", "surrogatepass"), name=name)
    measure(f"{{name}} of a device", 1.5, unit="s")

@pytest.mark.check("ACME-006")
def test_it_floods(host):
    flood = SAID * 20_000
    print(flood)
    raise GuestError(flood, host=host.name)
"""
RAN = {"ACME-001": 1, "ACME-002": 1, "ACME-003": 1, "ACME-004": 1, "ACME-005": 7, "ACME-006": 1}
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of such a run, with what lay around it before."""
    root = tmp_path_factory.mktemp("hostile")
    place = root / "a" / "b" / "c"
    place.mkdir(parents=True)
    options = furnish(place)
    (place / "test_inner.py").write_text(TESTS.format(said=ascii(SAID)))
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])}
    env |= {"INTEROP_STATE": str(place / "state"), "INTEROP_CACHE": str(place / "cache"), "COLUMNS": "200"}
    argv = [sys.executable, "-m", "pytest", *options, "--junitxml=junit.xml", "--summary-file=paragraph.txt"]
    done = subprocess.run([*argv, "--host", "first"], cwd=place, env=env, capture_output=True, timeout=200, check=False)
    (place / "output.txt").write_bytes(done.stdout + done.stderr)
    assert done.returncode == 1, done.stdout.decode() + done.stderr.decode()
    return place


@pytest.fixture
def results(place):
    """What Allure reads, as text: what is no UTF-8 would be no result."""
    return [json.loads(path.read_bytes().decode()) for path in (place / "out/latest/results").glob("*-result.json")]


@pytest.fixture
def lines(place):
    return [json.loads(one) for one in (place / "out/latest/results.jsonl").read_bytes().decode().splitlines()]


def texts(value):
    """Every text in JSON's data, keys among them."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def check_of(found):
    return next(label["value"] for label in found["labels"] if label["name"] == "check")


def test_no_result_is_lost(results, lines):
    """Half a surrogate, as bytes that are no text may be read, is in no UTF-8: whoever writes it must know."""
    assert Counter(one["check"] for one in lines) == RAN
    assert Counter(map(check_of, results)) == Counter(RAN) + Counter({"ACME-003": 1}), "each try is a result"


def test_each_is_told_as_what_it_is(lines):
    told = {one["check"]: one["status"] for one in lines}
    assert told == {
        "ACME-001": "guest",
        "ACME-002": "failed",
        "ACME-003": "flaky",
        "ACME-004": "skipped",
        "ACME-005": "passed",
        "ACME-006": "guest",
    }


def test_nothing_in_a_result_is_obeyed_by_who_shows_it(results, lines):
    """Tabs and ends of lines are what a message has."""
    every = texts(results) + texts(lines)
    assert sum("alert(1)" in text for text in every) > 20, "it is shown all the same"
    assert [text[:80] for text in every if OBEYED.search(text.replace("\n", "").replace("\t", ""))] == []


def test_a_flood_is_a_message_of_a_bounded_size(place, results, lines):
    """In each file: five megabytes were said and printed."""
    assert max(len(one["reason"]) for one in lines) <= LINE
    (found,) = (one for one in results if check_of(one) == "ACME-006")
    assert max(map(len, texts(found))) < 2 * MESSAGE
    assert len((place / "out/latest/results.jsonl").read_bytes()) < 100_000
    assert len((place / "paragraph.txt").read_text()) < 5000
    assert (place / "junit.xml").stat().st_size < 20 << 20
    assert all(path.stat().st_size < 5 << 20 for path in (place / "out/latest/results").glob("*-attachment*"))


def test_junit_is_xml_and_what_looks_like_markup_is_text(place):
    root = ET.parse(place / "junit.xml").getroot()
    assert len(list(root.iter("testcase"))) == sum(RAN.values())
    assert {one.tag for one in root.iter()} <= {
        *("testsuites", "testsuite", "testcase", "properties", "property"),
        *("failure", "error", "skipped", "system-out", "system-err"),
    }
    said = "".join(one.get("message", "") for one in root.iter("failure"))
    assert "<script>alert(1)</script>" in said


def test_the_paragraph_is_one_line_of_plain_text(place):
    said = (place / "paragraph.txt").read_text()
    assert "alert(1)" in said
    assert OBEYED.findall(said.removesuffix("\n")) == []


def test_every_file_is_where_the_run_writes_and_is_called_as_the_run_calls_it(place):
    """No path is made of what a guest said: neither out of the folder, nor by strange names in it, nor by links."""
    root = place.parents[2]
    assert [path.relative_to(root).as_posix() for path in (root, *root.rglob("*")) if place not in path.parents] == [
        *(".", "a", "a/b", "a/b/c")
    ]
    written = list((place / "out").rglob("*"))
    assert len(written) > 20
    odd = [path for path in written if not re.fullmatch(r"[\w.-]{1,80}", path.name, re.ASCII)]
    assert odd == []
    assert [path for path in written if path.is_symlink() and not path.resolve().is_relative_to(place / "out")] == []


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and what of them would run or lead away."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.runs: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.runs += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        self.runs += [f"{tag} {name}={value}" for name, value in attrs if re.match(r"\s*javascript:", value or "")]
        self.runs += [f"{tag} {name}={value}" for name, value in attrs if "evil.test" in (value or "") and tag == "a"]

    def handle_data(self, data):
        self.text += data


def harmless(html: str) -> Page:
    html.encode()  # half a surrogate cannot be written at all
    page = Page(html)
    assert page.runs == []
    assert page.tags["img"] == page.tags["iframe"] == 0
    assert page.tags["script"] <= 1
    assert outside_requests(html) == []
    assert "alert(1)" in page.text
    return page


def test_the_pages_of_the_run_show_it_and_obey_nothing(place, tmp_path):
    pages = beside.write([place / "out" / "latest"], tmp_path)
    assert pages.tests == sum(RAN.values())
    assert pages.warnings == ()
    harmless(pages.table.read_text())
    assert not pages.figures or harmless(pages.figures.read_text())


BEFORE = HostRecord("kvm-1", "kvm", "kvm", "QEMU/libvirt", "8.2.2", "kvm", kernel="6.1")
AFTER = HostRecord(
    "kvm-1",
    "kvm",
    "kvm",
    SAID,
    SAID,
    "kvm",
    details={SAID: SAID},
    kernel=SAID,
    services={SAID: SAID},
    guest={SAID: SAID},
)


@pytest.fixture
def two(tmp_path):
    """Two runs as another tool, or another version, may have written them: nothing was escaped on the way."""
    folders = []
    for name, host, status in (("r1", BEFORE, "passed"), ("r2", AFTER, "failed")):
        folder = run(tmp_path, name, hosts=(host,))
        for check in ("C01", "C02"):
            result(folder, check, "kvm", status=status, message=SAID * 1000 if status == "failed" else "", title=SAID)
        folders.append(folder)
    return folders


def test_versions_and_names_that_a_guest_told_are_text_on_the_page(two):
    found = read(two[1])
    assert {len(cell.reason) for cell in found.cells} == {LINE}
    harmless(render(table([found], []), title=SAID, results="index.html"))


def test_a_comparison_is_text_in_every_form(two):
    """On a terminal it is obeyed no more than in a ticket."""
    found = compare(*two)
    plain, markdown = compared.text(found), compared.markdown(found)
    for said in (plain, markdown):
        assert "alert(1)" in said
        assert OBEYED.findall(said.replace("\n", "")) == []
        said.encode()
    assert "<script>" not in markdown
    assert re.search(r"(?<!\\)\]\(", markdown) is None, "a link"
    json.dumps(compared.data(found))


def test_the_environment_of_a_run_is_a_line_a_fact(two):
    """And can be written at all."""
    for name in ("environment.properties", "pools.json"):
        (two[1] / name).read_bytes().decode()
    facts = (two[1] / "environment.properties").read_text().splitlines()
    assert all(" = " in one for one in facts)


def test_what_tries_came_to_is_text_in_a_description():
    """Allure makes HTML of it, by way of Markdown."""
    told = described("it holds", None, Remarks(tries=(f"lab: {SAID}\n\n# now",), news=SAID, warnings=(SAID,)))
    assert told.count("alert(1)") >= 3
    assert "<" not in told
    assert re.search(r"(?<!\\)\]\(", told) is None
    assert len(told.split("\n\n")) == 3


def test_a_line_is_bounded_and_is_one():
    assert line("a\tb  c\nd") == "a b c"
    assert line(" \n") == ""
    assert len(line("x" * 10_000_000)) == LINE
    assert "\n" not in line("\x1b[1m\ra\u2028b")


def test_what_is_text_for_markdown_stays_readable():
    assert marked("2 < 3 & *x*") == "2 &lt; 3 &amp; \\*x\\*"


def test_half_a_surrogate_is_spelt_out():
    assert visible("a\udcff\ud800b") == "a\\udcff\\ud800b"
    visible(SAID).encode()


def test_a_record_that_cannot_be_read_is_a_record_all_the_same(tmp_path):
    folder = Path(tmp_path)
    write(folder, RunRecord("r", "lab", "0", SAID, "ab", hosts=(AFTER,)))
    assert json.loads((folder / "pools.json").read_bytes().decode())["hosts"]
