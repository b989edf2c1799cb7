"""A host whose disk runs full: a lab that permits it, on a small file system made for it."""

import pytest

from harness.core import Deadline, LabError
from harness.core.process import run as call
from tests.end_to_end.defects import FULL_DISK
from tests.end_to_end.planting import SOUND, SPOILT
from tests.end_to_end.telling import SUITES, statuses

LAB = """\
hosts:
  kvm: {{backend: kvm, scarce: {scarce}}}
networks:
  management: {{kind: user}}
  peers: {{kind: switch, subnet: 10.77.0.0/24}}
"""


@pytest.fixture
def scarce(tmp_path):
    """A file system of 64 MiB."""
    folder = tmp_path / "scarce"
    folder.mkdir()
    try:
        call(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], Deadline.after(30))
    except LabError as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    yield folder
    call(["umount", folder], Deadline.after(30))


def test_the_check_tells_a_spoilt_guest_from_a_sound_one_and_leaves_nothing(run, monkeypatch, tmp_path, scarce):
    """Sound and spoilt; afterwards the small file system has all its room again."""
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))
    lab = tmp_path / "full.yaml"
    lab.write_text(LAB.format(scarce=scarce))
    select = [str(SUITES), "--rootdir", str(SUITES.parent), "--lab", str(lab), "-k", FULL_DISK.test]
    done = run(*select, "-p", "tests.end_to_end.planting")
    assert statuses(done, FULL_DISK, SOUND) == {"passed"}, done.output
    assert "failed" in statuses(done, FULL_DISK, SPOILT), done.output
    assert not list(scarce.glob("*.ballast"))
