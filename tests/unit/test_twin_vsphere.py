"""Parts of the vSphere twin that need neither Go nor QEMU."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.core import Deadline, LabError, UsageError
from harness.twins.engine.values import NatNetwork, SwitchNetwork
from harness.twins.vsphere import build
from harness.twins.vsphere.bodies import Bodies, UnsupportedDisk
from harness.twins.vsphere.config import TwinConfig
from harness.twins.vsphere.sockets import Server, post
from tests import compiled


def fake_go(folder: Path, says: str) -> Path:
    folder.mkdir()
    go = folder / "go"
    go.write_text(f"#!/bin/sh\n{says}\n")
    go.chmod(0o755)
    return go


def only(monkeypatch: pytest.MonkeyPatch, *compilers: Path) -> None:
    monkeypatch.setattr(build, "_candidates", lambda: iter(compilers))


def test_a_twin_is_what_its_line_says() -> None:
    config = TwinConfig.read(
        b'{"folder": "/twin", "networks": {"a": {"kind": "nat", "subnet": "10.0.0.0/16", "outside": "127.1.0.0/16"},'
        b' "b": {"kind": "switch", "vlan": 7}}}'
    )
    assert config.networks["a"].network() == NatNetwork("10.0.0.0/16", "127.1.0.0/16", 2222)
    assert config.networks["b"].network() == SwitchNetwork(vlan=7)
    assert config.esxi == ("esx1",)


@pytest.mark.parametrize("line", [b"{}", b'{"folder": "/x", "unknown": 1}', b"no json", b'{"folder": "/x", "cpus": 0}'])
def test_a_line_that_says_too_little_or_too_much_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError, match="configuration is wrong"):
        TwinConfig.read(line)


def test_without_go_there_is_no_twin_and_one_line_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    with pytest.raises(LabError) as failed:
        build.binary()
    assert failed.value.message == "no vSphere twin: it is built with Go 1.23 or newer (there is none on PATH)"


def test_the_command_of_make_fails_without_go_and_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what to do about it in another; `make test` ends there."""
    only(monkeypatch)
    assert build.main() == 1
    said, hint = capsys.readouterr().err.splitlines()
    assert said == "go: no vSphere twin: it is built with Go 1.23 or newer (there is none on PATH)"
    assert hint.startswith("  hint: install Go 1.23 or newer")


@pytest.mark.parametrize(("environment", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_tests_that_need_go_are_skipped_without_it_and_fail_where_nobody_reads_skips(
    monkeypatch: pytest.MonkeyPatch, environment: str, outcome: type[BaseException]
) -> None:
    only(monkeypatch)
    monkeypatch.setenv("CI", environment)
    for make in (compiled.simulator, lambda: compiled.program(Path(__file__).parent / "vcsim", "plain-vcsim")):
        with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match="it is built with Go") as caught:
            make()
        assert caught.type is outcome


def test_a_go_beside_the_python_that_runs_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make setup` may have put it there, and make has no activated environment: it is not on PATH."""
    go = fake_go(tmp_path / "bin", "echo go1.26.8")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(build.sysconfig, "get_path", {"scripts": str(go.parent)}.get)
    assert go in build._candidates()


def test_an_old_go_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = fake_go(tmp_path / "old", "echo go1.19.8")
    only(monkeypatch, old)
    with pytest.raises(LabError, match=r"go1\.19\.8"):
        build.binary()


def test_a_newer_go_further_down_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new = fake_go(tmp_path / "new", "echo go1.26.8")
    only(monkeypatch, fake_go(tmp_path / "old", "echo go1.19.8"), new)
    assert build.compiler(Deadline.after(30)) == (new, "go1.26.8")


def test_modules_that_are_not_to_be_had_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    go = fake_go(tmp_path / "go", 'test "$1" = env && echo go1.26.8 && exit; echo "dial tcp: no route" >&2; exit 1')
    only(monkeypatch, go)
    with pytest.raises(LabError, match=r"no vSphere twin: vcsim does not build: .*no route"):
        build.binary()
    assert not list((tmp_path / "cache" / "twins").glob("vcsim-????????????????"))


def test_a_program_is_built_once_for_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "main.go").write_text("one")
    go = fake_go(tmp_path / "go", f'echo built >>{tmp_path}/log; while [ "$1" != -o ]; do shift; done; touch "$2"')

    def make() -> Path:
        return build.build(tmp_path / "source", "program", go, "go1.26.8", Deadline.after(30))

    first = make()
    assert make() == first
    assert (tmp_path / "log").read_text().count("built") == 1
    (tmp_path / "source" / "main.go").write_text("two")
    assert make() != first


def test_sockets_work_in_folders_with_long_names(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with Server(folder / "a.sock", lambda where, said: (200, {"where": where, **said})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert post(folder / "a.sock", "/verb", {"one": 1}) == {"where": "verb", "one": 1}
        assert (folder / "a.sock").stat().st_mode & 0o077 == 0
        server.shutdown()
    with pytest.raises(LabError, match="does not answer"):
        post(folder / "b.sock", "/verb", {})


def descriptor(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"# Disk DescriptorFile\nversion=1\n")
    return path


def test_an_upload_stays_while_a_clone_stands_on_it(tmp_path: Path) -> None:
    store, uploads = tmp_path / "datastore", tmp_path / "bodies"
    base, clone = descriptor(store / "base" / "base.vmdk"), descriptor(store / "clone" / "clone.vmdk")
    body = uploads / "base" / "base.vmdk" / "1.vmdk"
    body.parent.mkdir(parents=True)
    body.write_bytes(b"KDMV")
    bodies = Bodies(store, uploads)
    assert bodies.of(base) == body
    bodies.cloned(clone, base, tmp_path / "layer")
    assert bodies.of(clone) == tmp_path / "layer"
    bodies.forget(base)
    assert body.exists()
    bodies.forget(clone)
    assert not body.exists()


def test_a_disk_that_nobody_uploaded_is_empty_and_a_strange_file_is_none(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path, tmp_path / "bodies")
    assert bodies.of(descriptor(tmp_path / "empty.vmdk")) is None
    (tmp_path / "sparse.vmdk").write_bytes(b"KDMV" + bytes(100))
    with pytest.raises(UnsupportedDisk, match="unsupported or invalid disk type"):
        bodies.of(tmp_path / "sparse.vmdk")
    with pytest.raises(UnsupportedDisk, match="is not there"):
        bodies.of(tmp_path / "none.vmdk")


def test_go_sources_and_checksums_are_in_the_package() -> None:
    names = {path.name for path in build.SOURCES.iterdir()}
    assert {"go.mod", "go.sum", "main.go"} <= names
    assert "github.com/vmware/govmomi v0.52.0" in (build.SOURCES / "go.mod").read_text()
