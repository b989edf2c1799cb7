"""Roots of the embedded driver: one a process, never two owners."""

import os
import subprocess
import sys

import pytest

from harness.backends.kvm import roots
from harness.core import LabError

HOLD = """
import sys
from pathlib import Path
from harness.backends.kvm import roots
print(roots.take(Path(sys.argv[1])).path.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """An empty pool, as a process that has no root yet sees it."""
    monkeypatch.setattr(roots, "_taken", {})
    yield tmp_path / "roots"
    for lock in roots._taken.values():
        lock.close()


@pytest.fixture
def holder(pool):
    """Another process that has taken a root of the pool."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, pool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.root = process.stdout.readline().strip()
        yield process
        process.kill()


def test_a_process_keeps_its_root(pool):
    assert roots.take(pool) == roots.take(pool)


def test_a_taken_root_is_left_to_its_owner(pool, holder):
    assert holder.root == "0"
    assert roots.take(pool).path.name == "1"


def test_a_killed_owner_frees_its_root(pool, holder):
    holder.kill()
    holder.wait()
    assert roots.take(pool).path.name == holder.root


def test_a_named_root_in_use_is_one_clear_error(pool, holder):
    with pytest.raises(LabError, match="in use by another process"):
        roots.take(pool, only=pool / holder.root)


def test_a_second_pool_is_one_clear_error(pool, tmp_path):
    roots.take(pool)
    with pytest.raises(LabError, match="libvirt allows one"):
        roots.take(tmp_path / "other")


def test_a_long_path_gets_a_short_name(pool):
    root = roots.take(pool / ("x" * 100))
    assert len(str(root.alias)) <= 50
    assert root.alias.resolve() == root.path
    root.alias.unlink()


def test_the_driver_needs_no_other_daemon(pool):
    settings = (roots.take(pool).path / "etc" / "qemu.conf").read_text()
    assert 'stdio_handler = "file"' in settings
    assert ('user = "root"' in settings) == (os.getuid() == 0)


def test_a_new_root_knows_what_libvirt_learned_in_another(pool, holder):
    known = pool / holder.root / "cache" / "qemu" / "capabilities"
    known.mkdir(parents=True)
    (known / "answer.xml").write_text("<qemuCaps/>")
    assert (roots.take(pool).path / "cache" / "qemu" / "capabilities" / "answer.xml").exists()
