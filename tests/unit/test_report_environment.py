"""What the report says about where a run took place."""

import json
import re
from dataclasses import replace

from harness.report.environment import (
    HostRecord,
    RunRecord,
    environment,
    environment_id,
    environment_name,
    executor,
    variables,
    write,
)
from harness.report.redact import Redactor

EL9 = HostRecord("el9-1", "el9", "kvm", "QEMU/libvirt", "8.2.2", "tcg", kernel="6.1.0-28", services={"agent": "7.2"})
EL9_NEWER = HostRecord(
    "el9-2", "el9", "kvm", "QEMU/libvirt", "9.0.0", "tcg", kernel="6.1.0-28", services={"agent": "7.2"}
)
WS = HostRecord("ws-1", "ws2019", "hyperv", "Microsoft Hyper-V", "10.0.17763", "hyperv", twin=True)


def run(*hosts, **values):
    return RunRecord("r1", "local", "0.1.0", "debian12", "ab" * 32, hosts=hosts, **values)


def test_a_single_pools_facts_stand_among_the_runs():
    facts = environment(run(EL9, build="b7"))
    assert facts["Product"] == "QEMU/libvirt"
    assert facts["Acceleration"] == "tcg"
    assert facts["Guest agent"] == "7.2"
    assert facts["Build id"] == "b7"
    assert "Release" not in facts


def test_several_pools_have_one_line_each():
    facts = environment(run(EL9, WS))
    assert facts["el9"] == "QEMU/libvirt 8.2.2, tcg"
    assert facts["ws2019"] == "twin of Microsoft Hyper-V 10.0.17763, hyperv"


def test_members_of_a_pool_that_differ_are_flagged():
    shown = variables(run(EL9, EL9_NEWER), "el9")
    assert shown["Version"] == "DIFFERS: 8.2.2 on el9-1, 9.0.0 on el9-2"
    assert shown["Kernel"] == "6.1.0-28"


def test_a_twin_says_so():
    assert variables(run(WS), "ws2019")["Twin"]


def test_the_file_survives_odd_characters_and_holds_no_secret(tmp_path):
    write(tmp_path, run(EL9, more={"a = b: c": "C:\\x\ny hunter2-secret"}), Redactor(["hunter2-secret"]))
    text = (tmp_path / "environment.properties").read_text()
    assert "a\\ \\=\\ b\\:\\ c = C:\\\\x y ********\n" in text
    assert all(re.match(r"(?:\\.|[^\\ =:])+ = ", line) for line in text.splitlines())


def test_pools_and_categories_lie_beside_the_results(tmp_path):
    write(tmp_path, run(EL9, WS))
    assert list(json.loads((tmp_path / "pools.json").read_text())["pools"]) == ["el9", "ws2019"]
    assert json.loads((tmp_path / "categories.json").read_text())


def test_workers_add_their_hosts_to_those_of_others(tmp_path):
    write(tmp_path, run(EL9))
    write(tmp_path, run(WS))
    write(tmp_path, run(EL9_NEWER))
    pools = json.loads((tmp_path / "pools.json").read_text())["pools"]
    assert pools["el9"]["Version"].startswith("DIFFERS")
    assert pools["ws2019"]["Product"] == "Microsoft Hyper-V"


def test_another_runs_hosts_do_not_linger(tmp_path):
    write(tmp_path, run(EL9))
    write(tmp_path, replace(run(WS), run="r2"))
    assert list(json.loads((tmp_path / "pools.json").read_text())["pools"]) == ["ws2019"]


def test_pools_are_named_as_allure_accepts_them():
    assert (environment_id("ws2019/left ä"), environment_name("ws2019/left ä")) == ("ws2019-left", "ws2019-left ä")
    assert len(environment_name("x" * 99)) == len(environment_name("x" * 99, twin=True)) == 64
    assert environment_name("ws2019/left", twin=True) == "ws2019-left (twin)"
    assert environment_id("///") == environment_name("..") == "pool"


def test_the_ci_job_is_the_executor_where_there_is_one():
    assert executor(run(), {"BUILD_URL": "http://ci/7", "BUILD_TAG": "night-7"})["buildUrl"] == "http://ci/7"
    assert executor(run(), {}) == {"name": "interop 0.1.0", "type": "interop"}


def test_what_a_release_changed_is_told_beside_what_was_there():
    """Against the baseline where that came first, else against the image."""
    before, after = {"package agent": "1", "kernel": "6.1"}, {"package agent": "3", "kernel": "6.1"}
    installed = {"side": "candidate", "before": before, "baseline": before | {"package agent": "2"}, "after": after}
    shown = variables(run(replace(EL9, release=installed)), "el9")
    assert shown["Release package agent"] == "3; baseline: 2"
    assert shown["Release kernel"] == "6.1"
    shown = variables(run(replace(EL9, release=installed | {"baseline": {}})), "el9")
    assert shown["Release package agent"] == "3; image: 1"


def test_the_release_and_its_side_stand_in_the_run_s_record(tmp_path):
    """For whoever compares runs: by name, side, and digest of what was installed."""
    write(tmp_path, run(EL9, release="agent-9@baseline", release_digest="ab" * 32))
    known = json.loads((tmp_path / "pools.json").read_text())
    assert known["release"] == {"name": "agent-9", "side": "baseline", "digest": "ab" * 32}
    assert "Release = agent-9@baseline" in (tmp_path / "environment.properties").read_text()
    write(tmp_path, run(EL9))
    assert "release" not in json.loads((tmp_path / "pools.json").read_text())
