"""How much of a host's processors others use, from what hosts tell of them."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.backends.protocol import NotQuiet
from harness.backends.views import HostFacts, ProcessorTimes, ProcessorUse
from harness.core import GiB, LabError
from harness.core.waiting import pause
from harness.lab import load_lab
from harness.lab.foreign import ALLOWED, ForeignLog, limit_of
from harness.lab.own_work import OwnWork
from harness.plugin.quiet import Watch

_TICK = 1.001 / os.sysconf("SC_CLK_TCK")
BURN = "import time\nwhile True: time.time()"
REAL = HostFacts("VMware ESXi", "8", "8", "vmware", 16, GiB, 8)


def log(*readings):
    """What readings come to."""
    found = ForeignLog()
    for reading in readings:
        found.add(reading)
    return found.so_far()


def test_what_is_busy_and_not_ours_is_foreign():
    found = log(ProcessorTimes(10, 4, 100, {"a": 5}), ProcessorTimes(20, 4, 130, {"a": 15}))
    assert (found.mean, found.worst, found.seconds, found.processors) == (0.5, 0.5, 10, 4)


def test_one_reading_of_counters_tells_nothing():
    assert log(ProcessorTimes(10, 4, 100, {})) is None


def test_a_machine_that_began_meanwhile_is_ours_from_its_beginning():
    assert log(ProcessorTimes(0, 1, 0, {}), ProcessorTimes(10, 1, 10, {"new": 10})).mean == 0


def test_a_machine_that_ended_meanwhile_takes_nothing_back():
    """What it did before is not subtracted from what others do now."""
    assert log(ProcessorTimes(0, 1, 50, {"old": 50}), ProcessorTimes(10, 1, 55, {})).mean == 0.5


def test_counters_that_were_read_a_moment_apart_never_make_less_than_nothing():
    assert log(ProcessorTimes(0, 1, 0, {"a": 0}), ProcessorTimes(1, 1, 0.9, {"a": 1})).mean == 0


def test_a_load_that_lasts_is_not_averaged_away_by_a_long_test():
    quiet = [ProcessorTimes(at, 1, 0, {}) for at in range(60)]
    loud = [ProcessorTimes(60 + at, 1, at, {}) for at in range(6)]
    after = [ProcessorTimes(66 + at, 1, 5, {}) for at in range(60)]
    found = log(*quiet, *loud, *after)
    assert found.mean < 0.05
    assert found.worst == 1


def test_a_single_busy_moment_is_averaged_over_five_seconds():
    before = [ProcessorTimes(at, 1, 0, {}) for at in range(20)]
    after = [ProcessorTimes(20 + at, 1, 1, {}) for at in range(20)]
    assert log(*before, *after).worst == pytest.approx(0.2)


def test_what_a_host_averages_itself_is_taken_as_it_says():
    found = log(ProcessorUse(16, 4, 4, 20), ProcessorUse(16, 12, 4, 20))
    assert (found.mean, found.worst) == (0.25, 0.5)


LAB = """
hosts:
  here: {{backend: kvm{host}}}
limits: {{{limits}}}
networks:
  management: {{kind: user}}
"""


@pytest.mark.parametrize(
    ("limits", "host", "real", "rehearsed"),
    [
        ("", "", ALLOWED, None),
        ("foreign_load: 25", "", 25, 25),
        ("foreign_load: 25", ", foreign_load: 3", 3, 3),
    ],
    ids=["nothing said", "of the lab", "of the host"],
)
def test_real_hosts_have_a_limit_and_others_have_that_of_the_lab_file(tmp_path, limits, host, real, rehearsed):
    path = tmp_path / "lab.yaml"
    path.write_text(LAB.format(limits=limits, host=host))
    settings = load_lab(path).hosts["here"]
    assert limit_of(settings, REAL) == real
    assert limit_of(settings, replace(REAL, twin=True)) == rehearsed
    assert limit_of(settings, replace(REAL, accelerated="tcg")) == rehearsed


def proc(folder, total, *processes):
    """A folder such as ``/proc``; of processes: number, parent, ticks of its own, ticks of its children, command."""
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"cpu  {total} 0 0 999 77 0 0 0 55 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n")
    for pid, parent, own, children, line in processes:
        place = folder / str(pid)
        place.mkdir(exist_ok=True)
        fields = ["S", parent, *[0] * 9, own, 0, children, 0, 20, 0, 1, 0, 4000 + pid, 0]
        (place / "stat").write_text(f"{pid} (a ) b) {' '.join(map(str, fields))}\n")
        (place / "cmdline").write_bytes(line.replace(" ", "\0").encode())
    return folder


def test_a_runs_descendants_and_those_with_its_folders_in_their_command_lines_are_ours(tmp_path):
    hertz = os.sysconf("SC_CLK_TCK")
    found = OwnWork(
        frozenset({10}),
        ("/cache/hosts/",),
        proc(
            tmp_path / "proc", 5000,
            (1, 0, 900, 0, "init"), (10, 1, 10, 200, "pytest"), (11, 10, 30, 4, "python"), (12, 11, 7, 0, "qemu-img"),
            (20, 1, 50, 0, "qemu-system -drive file=/cache/hosts/kvm/disk"), (30, 1, 777, 0, "qemu-system -drive x"),
        ),
    ).read()  # fmt: skip
    assert found.processors == 2
    assert found.busy == 5000 / hertz
    assert found.ours == {"tree": (10 + 200 + 30 + 4 + 7) / hertz, "20 4020": 50 / hertz}


def spent(pid):
    """Processor seconds of a process, as the kernel tells."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("ours", [True, False], ids=["a child", "a stranger"])
def test_this_machines_counters_tell_whose_work_it_is(ours):
    """A process that burns a processor: of the run where it is a descendant, of others where it is none."""
    with subprocess.Popen([sys.executable, "-c", BURN]) as burner:
        try:
            work = OwnWork(frozenset({burner.pid if ours else 1 << 30}))
            first, before, second = spent(burner.pid), work.read(), spent(burner.pid)
            end = time.monotonic() + 60
            while spent(burner.pid) - second < 0.5 and time.monotonic() < end:
                pass
            third, after, fourth = spent(burner.pid), work.read(), spent(burner.pid)
        finally:
            burner.kill()
    counted = after.ours["tree"] - before.ours["tree"]
    if ours:
        assert third - second <= counted + _TICK
        assert counted <= fourth - first + _TICK
    else:
        assert counted == 0
    assert after.busy - before.busy >= 0.9 * (third - second)


class Told:
    """What a host would tell, one reading after the other; the last for ever."""

    def __init__(self, *readings):
        self.readings = list(readings)

    def __call__(self):
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, BaseException):
            raise reading
        return reading


def use(share):
    return ProcessorUse(10, 10 * share, 0, 20)


def test_beyond_the_limit_a_result_is_unknown_and_the_figures_are_told():
    with Watch("esx1", Told(use(0.35)), 10) as watch, pytest.raises(NotQuiet) as caught:
        watch.judge()
    assert str(caught.value).startswith("esx1: ")
    assert "unknown: not quiet: others used 35 % of 10 processors" in str(caught.value)
    assert "the lab allows 10 %" in str(caught.value)


def test_up_to_the_limit_it_stands():
    with Watch("esx1", Told(use(0.1)), 10) as watch:
        watch.judge()


def test_without_a_limit_load_is_kept_and_held_against_nothing():
    with Watch("esx1", Told(use(0.9)), None) as watch:
        watch.judge()
        assert watch.so_far().worst == 0.9


def test_who_cannot_be_asked_in_the_end_is_not_taken_for_quiet():
    with Watch("esx1", Told(use(0), LabError("no answer")), 10) as watch, pytest.raises(LabError, match="no answer"):
        watch.judge()


def test_a_host_that_never_tells_is_held_to_nothing_but_what_the_lab_file_says():
    """An account may lack a right that nobody asked for before; where the file sets a limit, it must have it."""
    for asked in (True, False):
        with Watch("hv1", Told(LabError("no right")), 10, asked=asked) as watch:
            if asked:
                with pytest.raises(LabError, match="unknown whether it was quiet: no right"):
                    watch.judge()
            else:
                watch.judge()
            assert (watch.so_far(), watch.mute) == (None, "no right")


def test_a_host_that_told_and_then_fails_is_not_taken_for_quiet_by_default_either():
    with Watch("hv1", Told(use(0), LabError("gone")), 10, asked=False) as watch, pytest.raises(LabError, match="gone"):
        watch.judge()


def test_a_question_that_failed_in_the_middle_is_made_good_by_the_next():
    with Watch("esx1", Told(use(0), LabError("no answer"), use(0.05)), 10) as watch:
        assert watch.so_far().worst == 0
        watch.judge()


def test_a_limit_on_a_host_that_tells_nothing_is_not_passed_over():
    with Watch("esx1", None, 10) as watch, pytest.raises(LabError, match="does not tell how busy"):
        watch.judge()
    with Watch("esx1", None, None) as watch:
        watch.judge()
        assert watch.so_far() is None


def test_it_looks_by_itself_while_the_test_runs():
    looks = []

    def look():
        looks.append(1)
        return ProcessorTimes(float(len(looks)), 1, 0, {})

    watch = Watch("kvm1", look, None)
    watch._every = 0.01
    end = time.monotonic() + 30
    with watch:
        while len(looks) < 5 and time.monotonic() < end:
            pause(0.01)
    count = len(looks)
    assert count >= 5
    assert watch.so_far().seconds == count - 1
    assert len(looks) == count, "nobody is asked once it is over"
