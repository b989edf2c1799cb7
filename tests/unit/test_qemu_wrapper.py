"""The emulator in QEMU's place: user networks are restricted, and nothing else is changed."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.qemu import QemuError, restrict
from harness.qemu.accel import option
from harness.qemu.wrapper import restricted, steady

QEMU = Path("/usr/bin/qemu-system-x86_64")


def test_a_user_network_in_json_is_restricted():
    out = restricted(["-netdev", '{"type":"user","id":"hostnet0"}', "-m", "64"])
    assert json.loads(out[1]) == {"type": "user", "id": "hostnet0", "restrict": True, "ipv6": False}
    assert out[2:] == ["-m", "64"]


def test_a_user_network_in_words_is_restricted():
    assert restricted(["-netdev", "user,id=n"]) == ["-netdev", "user,id=n,restrict=on,ipv6=off"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-netdev", '{"type":"dgram","id":"n"}'],
        ["-netdev", "tap,id=user"],
        ["-name", "user,debug"],
        ["-S", "-no-user-config", "-nodefaults", "-machine", "none", "-qmp", "unix:/x,server=on", "-daemonize"],
        [],
    ],
)
def test_everything_else_is_passed_through(arguments):
    assert restricted(arguments) == arguments


@pytest.mark.parametrize("smp", ["2,maxcpus=8,sockets=8,cores=1,threads=1", "cpus=2,maxcpus=8"])
def test_vcpus_share_a_thread_where_more_may_come(smp):
    """One that is added is sent what all get, and would wake of it and run the firmware."""
    assert steady(["-accel", "tcg", "-smp", smp])[1] == "tcg,thread=single" == option("tcg", 2, 8)


@pytest.mark.parametrize(
    "words", [["tcg", "8,maxcpus=8"], ["tcg", "2"], ["kvm", "2,maxcpus=8"], ["tcg,thread=multi", "2,maxcpus=8"]]
)
def test_all_others_have_a_thread_each(words):
    accel, smp = words
    arguments = ["-m", "64", "-accel", accel, "-smp", smp]
    assert steady(arguments) == arguments


@pytest.mark.parametrize("sizes", [("tcg", 8, 8), ("kvm", 2, 8)])
def test_nothing_is_said_of_threads_where_no_vcpu_is_emulated_or_none_may_come(sizes):
    assert option(*sizes) == sizes[0]


def test_the_wrapper_runs_the_real_emulator_with_the_arguments_as_they_are(tmp_path):
    fake = tmp_path / "fake qemu"
    fake.write_text('#!/bin/sh\nfor word; do echo "[$word]"; done\n')
    fake.chmod(0o755)
    wrapper = restrict.install(tmp_path / "bin", fake)
    said = subprocess.run([wrapper, "a b", "$HOME", "-netdev", "user"], capture_output=True, timeout=20, check=True)
    assert said.stdout.decode().splitlines() == ["[a b]", "[$HOME]", "[-netdev]", "[user,restrict=on,ipv6=off]"]


def test_the_real_emulator_accepts_what_the_wrapper_adds(tmp_path):
    wrapper = restrict.install(tmp_path, QEMU)
    arguments = ["-machine", "none", "-display", "none", "-netdev", '{"type":"user","id":"n"}', "-device", "help"]
    done = subprocess.run([wrapper, *arguments], capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_a_changed_emulator_gets_another_wrapper(tmp_path):
    emulator = tmp_path / "qemu"
    emulator.write_text("one")
    first = restrict.install(tmp_path / "bin", emulator)
    assert restrict.install(tmp_path / "bin", emulator) == first
    emulator.write_text("another")
    assert restrict.install(tmp_path / "bin", emulator) != first


def test_a_missing_emulator_is_one_clear_error(tmp_path):
    with pytest.raises(QemuError, match="cannot be used as emulator"):
        restrict.install(tmp_path, tmp_path / "none")
