"""The report, rendered by the real Allure from results of a real pytest, read in a real browser."""

import base64
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from harness.core import Deadline, Pending, wait_for
from harness.core.process import run
from harness.report.environment import HostRecord, RunRecord, write
from harness.report.layout import RunFolder
from harness.report.render import render
from tests.end_to_end.browser import Browser
from tests.end_to_end.report_sample import CONFTEST, TESTS

HOSTS = (
    HostRecord("ws-1", "ws2019/left", "hyperv", "Microsoft Hyper-V", "10.0.17763", "hyperv", twin=True),
    HostRecord("el9-1", "el9", "kvm", "QEMU/libvirt", "8.2.2", "tcg", kernel="6.1.0", services={"agent": "7.2"}),
)
SHOWN = "document.querySelector('iframe') !== null && document.querySelector('img') !== null"
NIGHTS = ("night-1", "night-2", "night-3")


def png(width: int, height: int) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[RunFolder]:
    """Three nights of the sample, rendered: the test was renamed before the last, in which a worker died as well."""
    root = tmp_path_factory.mktemp("out [of] glob")
    (root / "screenshot.png").write_bytes(png(64, 48))
    folders = []
    for number, night in enumerate(NIGHTS):
        last = number == len(NIGHTS) - 1
        project = tmp_path_factory.mktemp("project")
        (project / "conftest.py").write_text(CONFTEST)
        (project / f"test_smp_{number}.py").write_text(TESTS.replace("{name}", "online" if not last else "all_cpus_up"))
        folder = RunFolder(root / night).make()
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "SAMPLE_RESULTS": str(folder.results),
            "SAMPLE_PNG": str(root / "screenshot.png"),
            **({"SAMPLE_CRASH": "1"} if last else {}),
        }
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:interop"]
        argv += ["-p", "no:interop_fixtures", "--rootdir=.", "-c", os.devnull, f"--alluredir={folder.results}"]
        done = subprocess.run(
            [*argv, *(("-n", "2") if last else ())],
            env=env, cwd=project, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stdout.decode() + done.stderr.decode()
        write(folder.results, RunRecord(night, "sample", "0.1.0", "debian12", "ab" * 32, "b7", "6.1.0", hosts=HOSTS))
        render([folder.path], folder.report, history=folder.history)
        folders.append(folder)
    return folders


@pytest.fixture
def page(browser, runs):
    """The last night's page, just opened."""
    browser.open(runs[-1].page.as_uri())
    browser.wait_for_text("sample night-3", "C01 Every vCPU comes online")
    return browser


def pools_shown(page: Browser) -> list[str]:
    """The pools that a test's Environments tab lines up."""
    rows = page.run("[...document.querySelectorAll('[data-testid=test-result-env-item]')].map((one) => one.innerText)")
    return [row.split()[0] for row in rows if row]


def results(folder: RunFolder) -> dict[tuple[str, str], dict]:
    """Every result by title and pool."""
    found = {}
    for path in folder.results.glob("*-result.json"):
        result = json.loads(path.read_text())
        pool = next(parameter["value"] for parameter in result["parameters"] if parameter["name"] == "pool")
        assert (result["name"], pool) not in found, "two results with one identity hide each other"
        found[result["name"], pool] = result
    return found


def test_a_crashed_worker_still_leaves_a_result_for_its_test(runs):
    crashed = results(runs[-1])["L11 The worker dies", "el9"]
    assert crashed["status"] == "broken"
    assert "died in this test" in crashed["statusDetails"]["message"]
    assert results(runs[-1]).keys() == results(runs[0]).keys()


def test_history_survives_a_rename_and_keeps_pools_apart(runs):
    nights = [json.loads(line)["testResults"] for line in runs[-1].history.read_text().splitlines()]
    assert len(nights) == len(NIGHTS)
    assert nights[0].keys() == nights[1].keys() == nights[2].keys()
    assert len(nights[0]) == len(results(runs[0]))


def test_rendering_a_run_again_adds_no_night(runs):
    render([runs[-1].path], runs[-1].report, history=runs[-1].history)
    names = [json.loads(line)["name"] for line in runs[-1].history.read_text().splitlines()]
    assert names == [f"sample {night}" for night in NIGHTS]


def test_no_secret_is_anywhere_in_the_run(runs):
    for path in runs[-1].path.rglob("*"):
        assert not path.is_file() or b"hunter2-secret" not in path.read_bytes(), path


def test_the_page_shows_tests_by_pool_with_their_statuses(page):
    text = page.text()
    for words in ('Environment: "el9"', 'Environment: "ws2019-left (twin)"', "ACME-001 The lab's own agent answers"):
        assert words in text
    assert "QEMU/libvirt 8.2.2, tcg" in page.text()


def test_the_page_opens_at_its_top(page):
    assert page.run("[...document.querySelectorAll('[data-tree-scroll-container]')].every(one => one.scrollTop === 0)")


def test_the_page_waits_for_results_that_are_read_late(runs, tmp_path):
    """A browser may stop anywhere in a long page and run what it has: here that is the program, without the results."""
    program, mark, results = runs[-1].page.read_text().partition("<script async>")
    assert "window.allureReportData[name] = value" in results
    runs_by_itself = Event()

    class Slowly(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(program.encode())
            runs_by_itself.wait(60)
            self.wfile.write((mark + results).encode())

        def log_message(self, *_):
            pass

    with ExitStack() as stack:
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Slowly))
        Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        slow = stack.enter_context(closing(Browser(tmp_path, reaching="127.0.0.1")))
        stack.callback(runs_by_itself.set)
        slow.open(f"http://127.0.0.1:{server.server_port}/")
        drawn = "document.getElementById('app')?.children.length > 0"
        wait_for("the program to draw", lambda: slow.run(drawn) or Pending("nothing"), Deadline.after(60))
        slow.run("new Promise((done) => setTimeout(done, 500))")  # what it asks for, it asks for after drawing
        runs_by_itself.set()
        slow.wait_for_text("sample night-3", "C01 Every vCPU comes online")
        assert slow.problems == []


def test_a_failure_shows_its_message_history_and_the_other_pool(page):
    page.click("C01 Every vCPU comes online (vcpus=8)")
    shown = page.wait_for_text("AssertionError: 8 vCPUs asked, 7 online", "Category: Product: a check failed")
    assert "ws2019/left" in shown
    assert page.text("[data-testid=test-result-tab-history]").split() == ["History", "2"]
    page.click("Environments", "button")
    wait_for(
        "one row a pool",
        lambda: pools_shown(page) == ["ws2019-left", "el9"] or Pending(page.text()),
        Deadline.after(30),
    )


def test_attachments_show_escaped_and_masked(page):
    page.click("C01 Every vCPU comes online (vcpus=8)")
    page.click("Attachments", "button")
    page.click("serial console")
    page.wait_for_text("Kernel panic \\xff token=******** <img src=http://out.test/x.png>")


def test_a_message_shows_what_a_guest_said_and_is_no_page_of_its_own(page):
    page.click("Categories", "[data-testid=nav-tab-categories]")
    page.wait_for_text("<img src=x onerror=owned()>", "[log in](http://out.test/d)")
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert [link for link in page.run("[...document.links].map((one) => one.href)") if "out.test" in link] == []


def test_a_description_shows_what_a_guest_said_and_has_no_link_of_its_own(runs):
    """Allure makes HTML of it, by way of Markdown, and keeps that in the page."""
    kept = re.findall(r'"data/test-results/[^"]+", *"([A-Za-z0-9+/=]+)"', runs[-1].page.read_text())
    found = [json.loads(base64.b64decode(one)) for one in kept]
    said = [one["descriptionHtml"] for one in found if "owned()" in (one.get("descriptionHtml") or "")]
    assert said, f"none of {len(found)}"
    for html in said:
        assert "&lt;img src=x onerror=owned()&gt; [log in](http://out.test/d)" in html
        assert "<img" not in html
        assert "<a " not in html


def test_categories_tell_lab_guest_and_product_apart(page):
    page.click("Categories", "[data-testid=nav-tab-categories]")
    page.wait_for_text("Lab: host, network", "Guest: panicked", "Product: a check failed", "Harness: a defect")
    page.wait_for_text("LabError: el9-1: connect: connection refused", "worker gw", "died in this test")
    page.click("Skipped, by reason")
    page.wait_for_text("needs CPU_HOT_ADD")


def test_what_only_warns_is_a_category_of_its_own_and_says_so(page):
    page.click("Categories", "[data-testid=nav-tab-categories]")
    page.wait_for_text("Warnings: beyond a limit that nobody calibrated")


def test_a_known_failure_is_a_category_of_its_own_accepted_and_leads_to_its_tracker(page):
    page.click("Categories", "[data-testid=nav-tab-categories]")
    page.wait_for_text("Known issues: they fail no run until their day", "AssertionError: as ever")
    page.wait_for_text("News of known issues: passed, though known to fail")
    page.click("Resolutions")
    page.wait_for_text("Accepted")
    page.click("L03 It fails as ever")
    page.wait_for_text("known issue, until 2999-12-31", "AssertionError: as ever")
    links = page.run("[...document.querySelectorAll('a')].map((one) => one.href)")
    assert "https://bugs.test/17" in links


def test_nothing_leaves_the_page(page):
    """Hostile attachments and descriptions included: whatever is shown, nobody is asked."""
    page.click("ACME-001 The lab's own agent answers")
    page.wait_for_text("Description")
    page.click("Attachments", "button")
    page.click("page")
    page.click("screenshot")
    wait_for("picture and frame", lambda: page.run(SHOWN) or Pending("not both"), Deadline.after(30))
    # The policy had something to refuse, and refused it: waited for here, for a frame that is left loads no further.
    refused = "Loading the image 'http://out.test/a.png' violates the following Content Security Policy"
    wait_for(
        "the refusal",
        lambda: any(refused in problem for problem in page.problems) or Pending(str(page.problems)),
        Deadline.after(30),
    )
    page.click("Report", "button")
    page.click("Graphs")
    page.wait_for_text("Problems by hypervisor")
    assert [asked for asked in page.requests if not asked.startswith(("data:", "blob:", "file:", "about:"))] == []


def test_a_request_would_have_been_seen(browser, tmp_path):
    """The proof above bites: without the policy, the browser does ask, and is caught."""
    frame = "<iframe sandbox srcdoc='<img src=http://out.test/frame.png>'></iframe>"
    (tmp_path / "leaky.html").write_text(f'<p>leaky</p><img src="http://out.test/x.png">{frame}')
    browser.open((tmp_path / "leaky.html").as_uri())
    for asked in ("http://out.test/x.png", "http://out.test/frame.png"):
        wait_for(asked, lambda asked=asked: asked in browser.requests or Pending("not asked"), Deadline.after(30))


def test_the_command_renders_the_latest_run(runs, tmp_path):
    latest = runs[-1].path.parent / "latest"
    argv = [Path(sys.executable).parent / "interop", "report", latest, "--no-history", "-o", tmp_path]
    assert f"report: {tmp_path}" in run(argv, Deadline.after(120)).decode()
    assert (tmp_path / "index.html").is_file()
