"""Files of an embedded host: whose they are is told by a mark, and what has none is nobody's but for a reason."""

from __future__ import annotations

import uuid

import pytest

pytest.importorskip("libvirt")

from harness.backends.kvm.files import MARK, Files
from harness.backends.kvm.roots import Root
from harness.backends.kvm.xml import node, owner_of
from harness.core import Deadline


def soon():
    return Deadline.after(30)


@pytest.fixture
def files(tmp_path):
    """Of a root that no libvirt knows."""
    root = Root(tmp_path / "roots" / "0", tmp_path / "roots" / "0")
    root.machines.mkdir(parents=True)
    return Files(root, tmp_path / "base", "kvm", None)


def test_a_folder_that_we_were_killed_in_while_marking_it_is_ours(files):
    """It has a machine's name, and nothing in it, or half a mark."""
    empty, torn = (files.folder(str(uuid.uuid4())) for _ in range(2))
    empty.mkdir()
    torn.mkdir()
    (torn / MARK).write_text('{"owner": ')
    found = list(files.owned(soon()))
    assert {thing.handle for thing in found} == {empty.name, torn.name}
    assert {thing.owner for thing in found} == {None}


@pytest.mark.parametrize("name", ["somebody-s", "6f8c2c0e-4f0b-4c86-9d0e-0b7f0d3f9a51"])
def test_an_unmarked_folder_with_something_in_it_is_somebody_s(files, name):
    """Our mark comes before all else, so we left none like that."""
    files.folder(name).mkdir()
    (files.folder(name) / "system.qcow2").write_bytes(b"theirs")
    assert list(files.owned(soon())) == []


def test_an_empty_folder_of_another_name_is_somebody_s(files):
    """A machine's folder is called by its UUID."""
    files.folder("somebody-s").mkdir()
    assert list(files.owned(soon())) == []


def test_half_a_publication_goes_for_its_run_s_sake_and_a_whole_image_does_not(files):
    """A whole one belongs to no run; whoever means it itself removes it all the same."""
    half = files.partial("ab" * 32)
    whole = files.folder("x").parents[2].parent / "base" / f"{'ab' * 32}.qcow2"
    for path in (half, whole):
        open(path, "wb").close()  # noqa: PTH123 - a name, as the journal has it
    files.withdraw(half, soon(), whole=False)
    files.withdraw("ab" * 32, soon(), whole=False)
    assert files.published("ab" * 32, soon()) == str(whole)
    files.withdraw("ab" * 32, soon())
    assert files.published("ab" * 32, soon()) is None


def test_a_domain_whose_mark_cannot_be_read_is_not_ours():
    """Whoever wrote that into the metadata: it keeps nobody from finding the others."""
    garbled = node("{urn:interop-harness:machine:1}machine", "{", run="r")
    assert owner_of(node("domain", None, node("metadata", None, garbled))) is None
