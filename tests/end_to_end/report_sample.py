"""A small project whose results make every kind of entry a report can have: run by a real pytest, no guest needed."""

CONFTEST = """
import os
from pathlib import Path

import allure_commons
import pytest

from harness.report import Identity, Redactor, ResultsWriter, Running, Stamper, attachments, write_crashed_worker

RESULTS = Path(os.environ["SAMPLE_RESULTS"])
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
POOLS = {"ws2019/left": "hyperv", "el9": "kvm"}
stamper = Stamper()
running = Running(RESULTS, WORKER)
redactor = Redactor(["hunter2-secret"])


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.addinivalue_line("markers", "check(number): the check's number")
    allure_commons.plugin_manager.register(stamper)
    config.add_cleanup(lambda: allure_commons.plugin_manager.unregister(stamper))
    config.add_cleanup(ResultsWriter(RESULTS, redactor).install())


def pytest_generate_tests(metafunc):
    metafunc.parametrize("host", list(POOLS), indirect=True)


@pytest.fixture
def host(request):
    return request.param


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    parameters = dict(item.callspec.params)
    pool = parameters.pop("host")
    mark = item.get_closest_marker("check")
    identity = Identity(
        mark.args[0] if mark else None, item.function.__doc__, "vcpu", pool, host=f"{pool}-1", backend=POOLS[pool],
        twin=pool.startswith("ws"), parameters=tuple((name, str(value)) for name, value in parameters.items()),
        thread=WORKER, test=item.originalname,
    )
    stamper.begin(identity)
    running.begin(identity)
    outcome = yield
    running.end()
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and item.originalname == "test_lab":
        said = "<img src=x onerror=owned()> [log in](http://out.test/d)"
        stamper.warn(["L01.late is 9 s, not at most 5 s (own choice; not calibrated yet)", said])
    if report.when == "call" and item.originalname == "test_known":
        link = ("known issue, until 2999-12-31", "https://bugs.test/17")
        stamper.know(known=report.failed, trackers=(link,), news="" if report.failed else "it passes here")
    if report.failed and call.excinfo:
        stamper.blame(call.excinfo.value)
        console = b"\\x1b[31mKernel panic\\x1b[0m \\xff token=hunter2-secret <img src=http://out.test/x.png>\\r\\n"
        attachments.attach_text("serial console", console * 40)
        attachments.attach_xml("host's description", "<domain type='kvm'><name>g1</name></domain>")
    return report


def pytest_handlecrashitem(crashitem, report, sched):
    worker = report.node.gateway.id
    write_crashed_worker(RESULTS, worker, f"worker {worker} died in this test", redactor=redactor)
"""

TESTS = '''
import os

import allure
import pytest

from harness.core import GuestError, LabError


@pytest.mark.check("C01")
@pytest.mark.parametrize("vcpus", [1, 8])
def test_{name}(host, vcpus):
    """Every vCPU comes online"""
    assert vcpus == 1 or host == "el9", "8 vCPUs asked, 7 online"


@pytest.mark.check("C09")
def test_hot_add(host):
    """Hot add vCPUs"""
    if host == "el9":
        pytest.skip("needs CPU_HOT_ADD")


@pytest.mark.check("L01")
def test_lab(host):
    """The lab answers"""
    if host == "el9":
        raise LabError("connection refused", host="el9-1", operation="connect")


@pytest.mark.check("L02")
def test_guest(host):
    """It boots within its time"""
    if host == "el9":
        raise GuestError("the console stopped at: Kernel panic <img src=x onerror=owned()> [log in](http://out.test/d)")


@pytest.mark.check("L03")
def test_known(host):
    """It fails as ever"""
    assert host == "el9", "as ever"


@pytest.mark.check("T06")
@pytest.mark.xfail(reason="LAB-17", strict=True)
def test_strict(host):
    """Expected to fail and does not"""


@pytest.mark.check("ACME-001")
def test_own(host):
    """The lab's own agent answers"""
    allure.attach('<img src="http://out.test/a.png"><script>fetch("http://out.test/b")</script>', "page", "text/html")
    allure.attach.file(os.environ["SAMPLE_PNG"], "screenshot", allure.attachment_type.PNG)
    allure.dynamic.description_html('<img src="http://out.test/c.png">')


def test_without_number(host):
    """A test without a number"""


@pytest.mark.check("L11")
def test_crash(host):
    """The worker dies"""
    if os.environ.get("SAMPLE_CRASH") and host == "el9":
        os._exit(3)
'''
