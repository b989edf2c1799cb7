"""What libvirt of a killed owner was in the middle of goes with the root's next owner, and nothing else does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.backends.kvm import roots
from harness.core import Deadline, LabError, Pending, wait_for

NAMES = ("lib/qemu/domain-3-vm", "lib/qemu/channel/target/domain-3-vm")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root that nobody owns, with libvirt's folders."""
    monkeypatch.setattr(roots, "_taken", {})
    path = tmp_path / "roots" / "0"
    for name in ("etc/qemu", "run/qemu", *NAMES):
        (path / name).mkdir(parents=True)
    yield path
    for lock in roots._taken.values():
        lock.close()


def take(path: Path) -> None:
    roots.take(path.parent)
    assert path in roots._taken


def note(root: Path, pid: int = 0, name: str = "vm", place: str = "domain-3-vm") -> Path:
    """What libvirt notes of a machine that it starts."""
    status = root / "run/qemu" / f"{name}.xml"
    status.write_text(
        f"<!-- by libvirt -->\n<domstatus state='paused' reason='starting up' pid='{pid}'>"
        f"<libDir path='{root}/lib/qemu/{place}'/><channelTargetDir path='{root}/lib/qemu/channel/target/{place}'/>"
        f"<job type='none' async='start'/><domain type='qemu'><name>{name}</name></domain></domstatus>"
    )
    status.with_suffix(".pid").write_text("4711")
    return status


@pytest.fixture
def qemu(tmp_path):
    """Starts a program of this name and with these words; ask it whether it was killed."""
    program, began = tmp_path / "qemu-system-x86_64", []
    shutil.copy("/bin/sh", program)

    def start(word: str, name: Path = program) -> subprocess.Popen:
        began.append(subprocess.Popen([name, "-c", "read forever", word], stdin=subprocess.PIPE))
        command = Path(f"/proc/{began[-1].pid}/cmdline")
        wait_for("it to run", lambda: word in command.read_text() or Pending("not yet"), Deadline.after(10))
        return began[-1]

    yield start
    for process in began:
        process.kill()
        process.communicate()


def test_where_it_asked_a_qemu_and_half_a_file(root, qemu):
    asked, asking = root / "lib/qemu/qmp-8GQHZ3", qemu(f"unix:{root}/lib/qemu/qmp-8GQHZ3/qmp.monitor")
    asked.mkdir()
    (asked / "qmp.monitor").touch()
    half, whole = root / "run/qemu/vm.xml.new", root / "etc/qemu/vm.xml"
    half.touch()
    whole.touch()
    take(root)
    assert asking.wait(10) == -9
    assert not asked.exists()
    assert not half.exists()
    assert whole.exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_that_it_was_starting_is_off(root, qemu, name):
    """Its QEMU, which libvirt does not know yet, its places and the note; its definition stays."""
    status, started = note(root), qemu(f"file={root}/{name}/master-key.aes")
    (root / name / "master-key.aes").touch()
    (root / "etc/qemu/vm.xml").touch()
    take(root)
    assert started.wait(10) == -9
    assert not status.exists()
    assert not status.with_suffix(".pid").exists()
    assert not any((root / name).exists() for name in NAMES)
    assert (root / "etc/qemu/vm.xml").exists()


@pytest.mark.parametrize("name", NAMES)
def test_places_that_it_made_and_did_not_note_are_gone(root, qemu, name):
    """With whoever works there; another machine's, which runs, stay."""
    started, other = qemu(f"file={root}/{name}/master-key.aes"), root / "lib/qemu/domain-2-other"
    other.mkdir()
    note(root, pid=4711, name="other", place=other.name)
    take(root)
    assert started.wait(10) == -9
    assert not any((root / name).exists() for name in NAMES)
    assert other.exists()


def test_by_the_name_that_libvirt_knows(tmp_path, root, qemu):
    """A long path has a short one, which is what stands in command lines."""
    deep = tmp_path / ("x" * 60) / "0"
    shutil.copytree(root, deep)
    note(deep)
    started = qemu(f"file={roots._alias(deep)}/{NAMES[0]}/master-key.aes")
    take(deep)
    assert started.wait(10) == -9
    roots._alias(deep).unlink()


def test_one_that_libvirt_knows_is_left_to_it(root, qemu):
    status, running = note(root, pid=4711), qemu(f"file={root}/{NAMES[0]}/master-key.aes")
    take(root)
    assert running.poll() is None
    assert status.with_suffix(".pid").exists()
    assert all((root / name).exists() for name in (NAMES[0], status.relative_to(root)))


def test_others_that_only_name_such_a_place_are_left_alone(root, qemu):
    """An editor with its log open; a QEMU of another machine whose name begins alike; of another root."""
    note(root)
    others = [
        qemu(f"{root}/{NAMES[0]}/log", Path("/bin/sh")),
        qemu(f"file={root}/{NAMES[0]}-2/master-key.aes"),
        qemu(f"file={root.parent}/1/{NAMES[0]}/master-key.aes"),
    ]
    take(root)
    assert [other.poll() for other in others] == [None] * 3


@pytest.mark.parametrize("place", ["", "..", "domain-3-vm/../.."])
def test_a_note_that_leads_elsewhere_removes_nothing_there(root, place):
    note(root, place=place)
    take(root)
    assert all((root / name).exists() for name in NAMES)


def test_a_note_that_is_no_xml_is_left_to_libvirt(root):
    """And so are all places, for one of them may be what it notes."""
    (root / "run/qemu/vm.xml").write_text("<domstatus")
    take(root)
    assert all((root / name).exists() for name in ("run/qemu/vm.xml", *NAMES))


def test_what_cannot_be_removed_is_one_clear_error(root, monkeypatch):
    note(root)

    def refuse(place):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(LabError, match=f"{NAMES[0]} cannot be removed: .*Permission denied"):
        take(root)
