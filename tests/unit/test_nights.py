"""Night files, what they come to, and what a night became, read from its results alone."""

import asyncio
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import interop
from harness.core import Deadline, LabError, Pending, UsageError, wait_for
from harness.nights import page
from harness.nights.attempt import command, counts, perform
from harness.nights.cells import plan
from harness.nights.load import load_night, night_schema, read_night
from harness.nights.merge import merged, pages
from harness.nights.models import Cell
from harness.nights.place import Place
from harness.nights.spool import Spool, left

HEAD = "lab: lab.yaml\nresults: out\n"
LAB = """
hosts:
  a1: {backend: kvm, pool: a, uri: qemu+ssh://interop@a1.example/system}
  a2: {backend: kvm, pool: a, uri: qemu+ssh://interop@a2.example/system}
  b1: {backend: kvm, uri: qemu+ssh://interop@b1.example/system}
networks: {management: {kind: bridge, source: br0, subnet: 192.0.2.0/24}}
"""


@pytest.fixture
def night(tmp_path):
    """Reads a night of a lab with a pool of two hosts and a host of its own."""
    (tmp_path / "lab.yaml").write_text(LAB)
    return lambda text: read_night(HEAD + text, tmp_path / "night.yaml")


def names(planned) -> list[str]:
    return [one.cell.name for one in planned.planned]


def test_a_night_is_the_product_and_a_pool_s_hosts_take_turns(night):
    read = night("images: [x, y]\nreleases: [none, linux-backport]\nfirmware: [bios, uefi]\n")
    cells = [one.cell for one in plan(read).planned]
    assert len(cells) == 2 * 2 * 2 * 2
    by_host = {host: sum(cell.host == host for cell in cells) for host in ("a1", "a2", "b1")}
    assert by_host == {"a1": 4, "a2": 4, "b1": 8}
    assert len({(cell.pool, cell.firmware, cell.image, cell.release) for cell in cells}) == 16


def test_each_host_of_a_pool_may_run_all_of_it(night):
    assert names(plan(night("images: [x]\neach_host: true\n"))) == [
        f"{host}/bios/x/none" for host in ("a1", "a2", "b1")
    ]


def test_what_is_excluded_is_told_with_its_reason(night):
    found = plan(night('images: [x, y]\nexclude: [{host: b*, image: y, reason: "LAB-1"}]\n'))
    assert [(one.cell.name, one.reason) for one in found.left_out] == [("b1/bios/y/none", "LAB-1")]
    assert len(found.planned) == 3


def test_what_is_included_is_run_besides_with_its_reason(night):
    found = plan(night("images: [x]\ninclude: [{host: b1, image: z, firmware: uefi, reason: a look}]\n"))
    assert [(one.cell.name, one.why) for one in found.planned][-1] == ("b1/uefi/z/none", "a look")


def test_priorities_say_what_goes_first_and_the_last_rule_counts(night):
    rules = "priorities: [{image: y, priority: 5}, {image: y, pool: b1, priority: -5}]\n"
    found = plan(night(f"images: [x, y]\n{rules}"))
    assert names(found) == ["a2/bios/y/none", "a1/bios/x/none", "b1/bios/x/none", "b1/bios/y/none"]


def test_what_was_not_reached_goes_first_whichever_member_of_the_pool_has_it(night):
    read = night("images: [x, y]\npriorities: [{image: x, priority: 100}]\n")
    found = plan(read, unreached=[Cell("a", "a1", "bios", "y", "none")])
    assert (found.planned[0].cell.name, found.planned[0].why) == ("a2/bios/y/none", "not reached last night")


def test_a_cordoned_host_s_cells_are_its_pool_s(night):
    found = plan(night("images: [x, y]\n"), cordoned={"a1": "broken fan", "b1": "moves"})
    assert names(found) == ["a2/bios/x/none", "a2/bios/y/none"]
    assert {(one.cell.host, one.reason) for one in found.left_out} == {("b1", "moves")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: [x]\npols: [a]\n", r"night.yaml:4:1 pols: unknown key; did you mean 'pools'\?"),
        ("images: [x]\npools: [c]\n", r"night.yaml:4:9 pools.0: the lab lab has no pool 'c'"),
        ("images: [x]\nbudget: 9\n", r"night.yaml:4:9 budget: .*a duration has a unit"),
        ("images: [x]\nschedule: at eight\n", r"night.yaml:4:11 schedule: 'at eight' is no cron line"),
        ("images: [x]\nreleases: [linux-bakport]\n", r"night.yaml:4:12 releases.0: .* did you mean 'linux-backport'"),
        ("images: [x, x]\n", r"night.yaml:3:13 images.1: 'x' stands here twice"),
        ("images: [x]\nexclude: [{pool: a}]\n", r"night.yaml:4:11 exclude.0.reason: this key is required"),
        ("images: [x]\nexclude: [{reason: no}]\n", r"night.yaml:4:11 exclude.0: excludes every cell"),
        ("images: [x]\nexclude: [{image: z, reason: no}]\n", r'night.yaml:4:11 exclude.0: no cell .* fits .*"z"'),
        ("images: [x]\ninclude: [{host: q, image: x, reason: y}]\n", r"night.yaml:4:18 include.0.host: .* no host"),
        ("images: [d1/x.yaml, d2/x.yaml]\n", r"night.yaml:3:9 images: the results of .* would lie together"),
    ],
)
def test_every_mistake_in_a_night_is_told_with_its_line(night, text, said):
    with pytest.raises(UsageError, match=said):
        night(text)


def test_a_lab_that_is_wrong_is_told_at_the_night_s_own_line(tmp_path):
    with pytest.raises(UsageError, match=r"night.yaml:1:6 lab: .*no such lab"):
        read_night(f"{HEAD}images: [x]\n", tmp_path / "night.yaml")


def test_the_example_that_ships_is_valid():
    found = plan(load_night("example"))
    assert len(found.planned) == 7
    assert len(found.left_out) == 2
    assert "exclude" in night_schema()["properties"]


def test_a_cell_is_an_ordinary_pytest_run():
    cell = Cell("a", "a1", "uefi", "debian13", "r1")
    words = command(cell, "lab.yaml", suites=["suites"], markers="not slow", options=["-x"], report_dir=Path("out"))
    assert words == [
        *("-m", "pytest", "--lab", "lab.yaml", "--host", "a1", "--image", "debian13", "--firmware", "uefi"),
        *("--release", "r1", "-m", "not slow", "--report-dir", "out", "--junitxml=out/junit.xml", "-x", "suites"),
    ]


async def _lost() -> str:
    return "others have it"


def test_a_run_that_others_may_have_is_killed_at_once(tmp_path):
    """Without a teardown: somebody else may be on the host already."""
    code = f"import time, pathlib\npathlib.Path({str(tmp_path / 'up')!r}).touch()\ntime.sleep(600)"
    run = perform(
        ["-c", code],
        tmp_path / "log",
        until=time.time() + 600,
        ours=_lost,
        now=time.time,
        every=2,
    )
    ended = asyncio.run(run)
    assert (ended.status, ended.exit, ended.why) == ("lost", -9, "others have it")


def test_a_run_ends_with_its_worker(tmp_path):
    """However that dies: a cell that is tried elsewhere must not run on."""
    code = """
        import asyncio, pathlib, sys, time
        from harness.nights.attempt import perform
        async def ours(): return ""
        inner = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
        log = pathlib.Path(sys.argv[1] + ".log")
        words = ["-c", inner, sys.argv[1]]
        asyncio.run(perform(words, log, until=time.time() + 600, ours=ours, now=time.time, every=9))
    """
    note = tmp_path / "pid"
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(note)])
    written = lambda: (note.exists() and note.read_text()) or Pending("no number")  # noqa: E731
    inner = Path("/proc", wait_for("the run", written, Deadline.after(60)))
    worker.kill()
    worker.wait()

    def gone() -> bool | Pending:
        return not inner.exists() or (inner / "stat").read_text().split()[2] == "Z" or Pending("it runs on")

    wait_for("the run to end", gone, Deadline.after(60))


# --- what became of a night ------------------------------------------------------------------------------------------


@pytest.fixture(params=["a folder", "an object store"])
def place(request, tmp_path):
    """Both kinds of places; the second keeps its objects in memory and has no folders."""
    if request.param == "a folder":
        yield Place(str(tmp_path / "nights"))
        return
    import fsspec

    yield Place(f"memory://{tmp_path.name}/nights")
    fsspec.filesystem("memory").store.clear()


def said(*cells: str) -> dict:
    told = [
        {"name": f"{cell}/bios/x/none", "page": "bios/x/none", "host": cell, "why": "", "priority": 0} for cell in cells
    ]
    return {"night": "n-1", "lab": "lab", "begun": "…", "until": "…", "cells": told, "left_out": []}


def ended(status: str, **more) -> dict:
    return {"status": status, "exit": 0, "why": "", "worker": "w1", "counts": {"tests": 3, "failures": 1}, **more}


def run_of(folder: Path) -> Path:
    (folder / "20260301" / "results").mkdir(parents=True)
    (folder / "20260301" / "results" / "1-result.json").write_text("{}")
    return folder


def test_every_planned_cell_is_in_one_state(place, tmp_path):
    place.put_night("n-1", said("h1", "h2", "h3", "h4"))
    run = run_of(tmp_path / "run")
    place.begin("n-1", "h1/bios/x/none", 1, {"worker": "w1"})
    place.end("n-1", "h1/bios/x/none", 1, run, ended("done"))
    place.begin("n-1", "h2/bios/x/none", 1, {"worker": "w2"})
    place.end("n-1", "h3/bios/x/none", 1, tmp_path / "none", ended("unreached", why="cordoned"))
    found = merged(place, "n-1")
    assert {cell.host: cell.state for cell in found.cells} == {
        "h1": "done",
        "h2": "gone",
        "h3": "unreached",
        "h4": "unreached",
    }
    assert place.nights() == ["n-1"]
    (folders,) = pages(place, "n-1", found, tmp_path / "scratch").values()
    assert [path.name for folder in folders for path in folder.iterdir()] == ["1-result.json"]


def test_a_cell_that_ran_twice_says_so_and_the_last_one_counts(place, tmp_path):
    place.put_night("n-1", said("h1"))
    for number in (1, 2):
        place.begin("n-1", "h1/bios/x/none", number, {"worker": "w1"})
        place.end("n-1", "h1/bios/x/none", number, run_of(tmp_path / str(number)), ended("done"))
    (cell,) = merged(place, "n-1").cells
    assert cell.counted.number == 2
    assert "it ran 2 times to its end; the last one counts" in cell.remarks


def test_a_later_attempt_that_broke_hides_no_earlier_results(place, tmp_path):
    place.put_night("n-1", said("h1"))
    for number, status in ((1, "done"), (2, "broken")):
        place.begin("n-1", "h1/bios/x/none", number, {"worker": "w1"})
        place.end("n-1", "h1/bios/x/none", number, run_of(tmp_path / str(number)), ended(status))
    (cell,) = merged(place, "n-1").cells
    assert (cell.state, cell.counted.number) == ("done", 1)


def test_results_that_were_never_planned_are_told(place, tmp_path):
    place.put_night("n-1", said("h1"))
    place.begin("n-1", "h9/bios/x/none", 1, {"worker": "w1"})
    assert merged(place, "n-1").strangers == ("h9/bios/x/none",)


def test_a_night_that_is_not_there_and_a_place_that_is_none_are_told(place):
    with pytest.raises(UsageError, match="no night is called 'n-2'"):
        merged(place, "n-2")
    with pytest.raises(UsageError, match="results cannot go to nowhere://"):
        Place("nowhere://bucket/nights")


def test_a_place_that_cannot_be_written_is_the_lab_s_fault(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="cannot write"):
        Place(str(tmp_path / "file")).put_night("n-1", said())


def test_what_workers_say_is_escaped_on_the_page(tmp_path):
    place = Place(str(tmp_path))
    place.put_night("n-1", said("h1"))
    place.begin("n-1", "h1/bios/x/none", 1, {"worker": "w1"})
    place.end("n-1", "h1/bios/x/none", 1, tmp_path / "none", ended("broken", why="<script>alert(1)</script>"))
    text = page.write(merged(place, "n-1"), tmp_path / "out", {}).read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert '<b class="broken">1 broken</b>' in text


def test_a_night_s_report_tells_of_every_cell_also_where_no_page_can_be_rendered(tmp_path):
    place = Place(str(tmp_path))
    place.put_night("n-1", said("h1", "h2"))
    place.begin("n-1", "h1/bios/x/none", 1, {"worker": "w1"})
    place.end("n-1", "h1/bios/x/none", 1, tmp_path / "none", ended("done"))
    done = CliRunner().invoke(interop, ["report", str(tmp_path / "n-1")])
    assert (done.exit_code, done.stdout) == (
        0,
        f"report: {tmp_path / 'n-1' / 'report' / 'index.html'} (2 cells: 1 done, 1 unreached; 0 pages)\n",
    )


def test_a_run_s_counts_are_those_of_its_junit_file(tmp_path):
    head = (
        '<?xml version="1.0"?><testsuites name="t"><testsuite name="p" errors="1" failures="2" skipped="0" tests="7">'
    )
    (tmp_path / "junit.xml").write_text(head + "<testcase/>" * 1000)
    assert counts(tmp_path) == {"errors": 1, "failures": 2, "skipped": 0, "tests": 7}
    assert counts(tmp_path / "none") == {}


def test_a_night_s_name_carries_its_date():
    """So that the nights of one file sort, and one begins once in a minute."""
    from harness.nights.queue import Queued, last_of

    cell = Cell("a", "a1", "bios", "x", "none")
    known = [
        Queued(n, f"{name}-2026030{n}-2000", cell, "done", 0, 0) for n, name in ((1, "n"), (2, "n"), (3, "n-long"))
    ]
    assert [one.night for one in last_of("n", known)] == ["n-20260302-2000"]


def test_json_of_an_attempt_that_is_none_is_told(tmp_path):
    place = Place(str(tmp_path))
    place.put_night("n-1", said("h1"))
    (tmp_path / "n-1" / "night.json").write_text("half")
    with pytest.raises(LabError, match=r"night\.json is no JSON"):
        merged(place, "n-1")


def test_results_stay_on_the_worker_s_disk_while_their_place_is_away(tmp_path, monkeypatch):
    """And whoever starts there next brings them, once, with how it had ended."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    (tmp_path / "nights").touch()
    spool = Spool.begin("n-1", "h1/bios/x/none", 1, str(tmp_path / "nights"))
    run_of(spool.run)
    spool.ended(ended("done"))
    assert list(left()) == []
    with pytest.raises(LabError, match="cannot"):
        spool.bring({})
    spool.leave()
    (tmp_path / "nights").unlink()
    (again,) = left()
    again.bring(ended("lost"))
    assert list(left()) == []
    assert Place(str(tmp_path / "nights")).attempts("n-1")["h1/bios/x/none"][1]["ended"]["status"] == "done"
    assert (tmp_path / "nights/n-1/cells/h1/bios/x/none/1/run/20260301/results/1-result.json").exists()


def test_a_night_of_controllers_of_two_versions_makes_no_page(place):
    """Who has which is named; what a version before left unsaid is no other version."""
    place.put_night("n-1", said("h1") | {"harness": "0.1.0"})
    place.begin("n-1", "h1/bios/x/none", 1, {"worker": "w0"})
    assert merged(place, "n-1").counts == {"gone": 1}
    place.begin("n-1", "h1/bios/x/none", 2, {"worker": "w1", "harness": "0.2.0"})
    with pytest.raises(UsageError, match=r"several versions of the harness: 0\.1\.0 in night\.json; 0\.2\.0 in w1"):
        merged(place, "n-1")
