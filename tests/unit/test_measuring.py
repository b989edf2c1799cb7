"""Measurements of a run lie in its results, a file each, from the moment they are taken."""

import json
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from harness.measure import Better, Measurement, records
from harness.report import layout
from tests.unit.announcing import announce

ROOT = Path(__file__).resolve().parents[2]
BACKEND = """\
from pathlib import Path
from typing import ClassVar
from harness.backends.views import HostFacts
from harness.backends.registry import HostSettings
from harness.core import GiB
from harness.core.secrets import Secret
from harness.lab import expectations
expectations.shipped = lambda: Path(__file__).parent
class Settings(HostSettings):
    local: ClassVar = True
    password: Secret
class Host:
    name = "near"
    def facts(self, deadline):
        return HostFacts("Tiny", "1", "1", "tcg", 2, GiB, 8)
    def capabilities(self, shape):
        return set()
    def owned(self, deadline, run=None):
        return []
    def close(self):
        pass
def connect(settings, context):
    return Host()
"""
LAB = """\
hosts: {near: {backend: tiny, pool: small, password: "env:TINY_PASSWORD"}}
networks: {management: {kind: network, source: x, subnet: 10.78.0.0/16, nat: 127.78.0.0/16}}
"""
TESTS = """
    import os, signal, pytest

    @pytest.mark.quiet
    @pytest.mark.check("ACME-001", part="busy")
    @pytest.mark.parametrize("size", ["hunter2 GiB"])
    def test_a_figure_is_kept(host, measure, size):
        measure("rate", 42, unit="MiB/s", samples=[41, 43])

    @pytest.mark.changes_guest  # so it comes after the one that measures in quiet
    @pytest.mark.check("ACME-002")
    def test_a_name_is_used_twice(host, measure):
        measure("twice", 1, unit="s")
        measure("twice", 2, unit="s")

    @pytest.mark.changes_guest
    @pytest.mark.check("ACME-003")
    def test_the_run_dies(host, measure):
        measure("boot", 1.5, unit="s", better="lower")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of an inner run on a host that is there at once; its last test kills it."""
    place = tmp_path_factory.mktemp("run")
    (place / "interop_tiny.py").write_text(BACKEND)
    for source, name in (("kvm", "tiny"), ("kernel-messages", "kernel-messages")):
        (place / f"{name}.yaml").write_bytes((ROOT / "configs/expectations" / f"{source}.yaml").read_bytes())
    announce(place, "interop-tiny", "[interop.backends]\ntiny = interop_tiny\n")
    (place / "lab.yaml").write_text(LAB)
    (place / "test_inner.py").write_text(textwrap.dedent(TESTS))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "tiny.qcow2", "1M"], cwd=place, check=True)
    found = {"PYTHONPATH": os.pathsep.join([str(place), *sys.path]), "TINY_PASSWORD": "hunter2"}
    own = {"INTEROP_STATE": str(place / "state"), "INTEROP_CACHE": str(place / "cache")}
    options = ["-p", "no:cacheprovider", "--report-dir=out", "--lab=lab.yaml", "--image=tiny.qcow2"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_inner.py"],
        cwd=place, env=os.environ | found | own, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    return place / "out/latest/results"


@pytest.fixture(scope="module")
def figure(results):
    """The measurement of the first test."""
    return next(one for one in records.read(results) if one.measurement.name == "rate")


def test_what_is_on_disk_fits_the_schema_and_holds_no_secret(results):
    """The files are what others read: their form is promised, and a parameter may hold a password."""
    schema = json.loads((layout.settings() / "measurement.schema.json").read_text())
    files = sorted((results / records.FOLDER).iterdir())
    assert [json.loads(file.read_text())["name"] for file in files] == ["rate", "twice", "boot"]
    for file in files:
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(json.loads(file.read_text()))
        assert "hunter2" not in file.read_text()


def test_it_says_what_was_measured_and_where(figure, results):
    """Secrets that the lab refers to are masked."""
    assert (figure.check, figure.part, figure.params) == ("ACME-001", "busy", (("size", "******** GiB"),))
    assert (figure.pool, figure.host, figure.backend) == ("small", "near", "tiny")
    assert (figure.title, figure.test) == (
        "a figure is kept",
        "test_inner.py::test_a_figure_is_kept[small-******** GiB]",
    )
    assert figure.measurement == Measurement("rate", 42, "MiB/s", Better.HIGHER, (41, 43))
    assert figure.run == results.resolve().parent.name
    assert abs(figure.at - datetime.now(UTC)) < timedelta(hours=1)


def test_it_leads_to_its_result(figure, results):
    """By the historyId that Allure's result carries."""
    found = [json.loads(file.read_text()) for file in results.glob("*-result.json")]
    assert [one["name"] for one in found if one["historyId"] == figure.history] == [
        "ACME-001 a figure is kept (size=******** GiB)"
    ]


def test_circumstances_are_told(figure, results):
    """Quiet is what the test really held, not what its marker asked for."""
    around = figure.circumstances
    assert (around.accel, around.twin, around.quiet, around.neighbours) == ("tcg", False, True, ())
    assert around.load is not None
    assert around.processors >= 1
    assert 0 <= around.foreign <= around.foreign_worst <= 1
    assert around.foreign_limit is None, "guests are emulated, and the lab file sets none"
    assert [one.circumstances.quiet for one in records.read(results)] == [True, False, False]
    assert [one.circumstances.foreign is None for one in records.read(results)] == [False, True, True]


def test_it_survives_the_death_of_the_run(results):
    """SIGKILL in the test that took it: no tear-down, no result, and the figure is there."""
    last = records.read(results)[-1]
    assert (last.check, last.measurement) == ("ACME-003", Measurement("boot", 1.5, "s", Better.LOWER))


def test_a_name_is_taken_once_a_test(results):
    """Two figures of one name could not be told apart in a comparison."""
    found = [json.loads(file.read_text()) for file in results.glob("*-result.json")]
    twice = next(one for one in found if one["fullName"] == "ACME-002")
    assert "a measurement 'twice' was taken before in this test" in twice["statusDetails"]["message"]
    kept = [one for one in records.read(results) if one.measurement.name == "twice"]
    assert [(one.measurement.value, one.attempt) for one in kept] == [(1, 1)], "a mistake of a test is not tried again"
