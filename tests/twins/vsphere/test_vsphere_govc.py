"""A client of another house: govc, built from the release that the simulator is of."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.lab import twins
from tests import compiled
from tests.twins.vsphere.client import Client
from tests.twins.vsphere.running import TwinProcess

Govc = Callable[..., str]


@pytest.fixture(scope="module")
def program() -> Path:
    """govc, or the reason why there is none."""
    return compiled.program(Path(__file__).with_name("govc"), "govc")


@pytest.fixture
def govc(program: Path, twin: TwinProcess, tmp_path: Path) -> Govc:
    """Run govc against the twin, and return what it says."""
    environment = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "GOVC_URL": f"https://{twin.record['endpoint']}/sdk",
        "GOVC_USERNAME": twin.record["user"],
        "GOVC_PASSWORD": twin.record["password"],
        "GOVC_TLS_CA_CERTS": twin.record["ca"],
        "GOVC_PERSIST_SESSION": "false",
        "GOVC_RESOURCE_POOL": f"/{twin.record['datacenter']}/host/{twin.record['cluster']}/Resources",
    }

    def run(*words: str) -> str:
        done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_govc_sees_the_twin_and_runs_a_machine(govc: Govc, client: Client, twin: TwinProcess) -> None:
    about = json.loads(govc("about", "-json"))["about"]
    assert "twin" in about["fullName"]
    govc("vm.create", "-on=false", "-disk=16MB", "-disk.controller=pvscsi", "-net=VM Network", "-net.adapter=vmxnet3",
         "-m=128", "by-govc")  # fmt: skip
    govc("vm.power", "-on", "by-govc")
    machine = client.named("by-govc")
    assert machine is not None
    assert machine.runtime.powerState == "poweredOn"
    assert any(name.startswith("qemu") for name in twin.descendants().values())
    govc("snapshot.create", "-vm=by-govc", "-m=true", "warm")
    govc("vm.power", "-off", "by-govc")
    govc("snapshot.revert", "-vm=by-govc", "warm")
    assert machine.runtime.powerState == "poweredOn"
    assert "warm" in govc("snapshot.tree", "-vm=by-govc")
    govc("vm.destroy", "by-govc")
    assert client.named("by-govc") is None


def test_govc_puts_files_on_the_datastore(govc: Govc, tmp_path: Path) -> None:
    (tmp_path / "seed").write_bytes(b"a file")
    govc("datastore.upload", str(tmp_path / "seed"), "by-govc/seed")
    govc("datastore.download", "by-govc/seed", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"a file"
    assert "by-govc" in govc("datastore.ls")
    govc("datastore.rm", "by-govc")
    assert "by-govc" not in govc("datastore.ls")


def test_the_command_line_starts_a_twin_tells_govc_of_it_and_ends_it(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/twins.md shows it, each command a process of its own; govc gets what `env` prints, and nothing else."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    try:
        said = interop("twin", "up", "vsphere")
        shown = dict(line.split(maxsplit=1) for line in said.splitlines())
        assert shown["endpoint"].startswith("127.")
        assert "BEGIN CERTIFICATE" in Path(shown["ca"]).read_text()
        words = interop("twin", "env", "vsphere")
        argv = ["bash", "-c", 'eval "$1"; exec "$2" about -json', "-", words, program]
        environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "twin" in json.loads(done.stdout)["about"]["fullName"]
        told = dict(shlex.split(line)[1].split("=", 1) for line in words.splitlines())
        assert told["GOVC_URL"] == f"https://{shown['endpoint']}/sdk"
        assert told["GOVC_TLS_CA_CERTS"] == shown["ca"]
        assert told["GOVC_USERNAME"] == shown["user"]
        assert told["GOVC_PASSWORD"] not in said
        (twin,) = twins.known()
        assert twin.alive
    finally:
        ended = interop("twin", "down", "vsphere")
    assert "is gone" in ended
    assert not twin.alive
    host, port = shown["endpoint"].split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)
    assert not Path(twin.folder).exists()


def interop(*words: str) -> str:
    """What our own command says."""
    argv = [sys.executable, "-m", "harness.cli", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
