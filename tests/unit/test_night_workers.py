"""Nights on the engine, with workers as processes and a tiny suite: whatever dies, each cell's fate is told."""

import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.core import Deadline, Pending, UsageError, wait_for
from harness.nights.load import load_night
from harness.nights.merge import merged
from harness.nights.place import Place
from harness.nights.queue import make_app
from harness.nights.work import Worker
from tests.unit.night_lab import NightLab


@pytest.fixture
def lab(tmp_path, postgresql):
    return NightLab(tmp_path, postgresql.database())


@pytest.fixture
def workers(lab):
    """Starts workers; none outlives the test."""
    started = {}

    def start(number: int, *words: str):
        started[number] = lab.worker(number, *words)
        return started[number]

    yield start
    for worker in started.values():
        worker.kill()
        worker.wait()


def soon() -> Deadline:
    return Deadline.after(120)


def begun(lab: NightLab, night: str = "tiny.yaml") -> str:
    return lab.interop("night", "start", str(lab.folder / night)).splitlines()[-1].split(":")[0]


def until(what, condition, lab: NightLab):
    """Waits; a time-out shows what the workers said."""
    wait_for(what, lambda: condition() or Pending(lab.log()), soon(), every=0.2)


def settled(lab: NightLab, night: str, **counts: int):
    def seen() -> bool:
        return merged(Place(str(lab.results)), night).counts == Counter(counts)

    until(f"{night} to be {counts}", seen, lab)
    return {cell.name: cell for cell in merged(Place(str(lab.results)), night).cells}


def test_three_workers_finish_a_night_though_one_is_killed_in_the_middle(lab, workers):
    """Nothing is lost, and nothing runs twice without saying so."""
    lab.night()
    hold = lab.folder / "suite" / "hold-h1-a"
    hold.touch()
    night = begun(lab)
    processes = {number: workers(number) for number in (1, 2, 3)}
    until("the first cell to stand still", (lab.folder / "suite" / "held-h1-a").exists, lab)
    place = Place(str(lab.results))
    victim = place.attempts(night)["h1/bios/a/none"][1]["begun"]["worker"]
    pid = int(victim.rpartition("/")[2])
    (killed,) = [number for number, process in processes.items() if process.pid == pid]
    processes[killed].kill()
    processes[killed].wait()
    hold.unlink()
    cells = settled(lab, night, done=6)

    twice = cells.pop("h1/bios/a/none")
    assert [(one.number, one.status) for one in twice.attempts] == [(1, "gone"), (2, "done")]
    assert twice.remarks == [f"attempt 1: {victim} was not heard of again, nor its results"]
    assert {len(cell.attempts) for cell in cells.values()} == {1}
    assert all(cell.counted.counts["tests"] == 2 for cell in [twice, *cells.values()])
    # What really ran, by the suite's own notes: the killed cell's first test began twice and ended once.
    noted = Counter((one["host"], one["image"], one["word"]) for one in lab.ran())
    assert noted.pop(("h1", "a", "begin")) == 3
    assert set(noted.values()) == {2}
    assert_one_at_a_time(lab)
    assert lab.interop("night", "status", "--lab", str(lab.lab)).splitlines()[-1] == f"{night}: 6 done"

    # What the killed one had stays on its disk, until a worker starts there again.
    assert workers(killed, "--once").wait(60) == 0
    first, second = settled(lab, night, done=6)["h1/bios/a/none"].attempts
    assert (first.status, second.status) == ("lost", "done")
    assert "brought what there was" in first.why
    assert "test_tiny.py" in (place.fetch(night, twice.name, 1, lab.folder) / "output.txt").read_text()


def assert_one_at_a_time(lab: NightLab) -> None:
    """A job's lock is its host: no two runs' tests on one host overlap, but for the run that was killed."""
    running: dict[str, int] = {}
    for one in lab.ran():
        host, pid = one["host"], one["pid"]
        if one["word"] == "begin":
            before = running.get(host)
            assert before is None or not Path(f"/proc/{before}").exists(), f"two runs at once on {host}"
            running[host] = pid
        else:
            assert running.pop(host) == pid


@pytest.fixture
def held(lab):
    """A night of one cell whose first test stands still until the file is gone, and which begins at once."""
    lab.night(pools=["h1"], images=["a"])
    hold = lab.folder / "suite" / "hold-h1-a"
    hold.touch()
    return hold


def stands_still(lab: NightLab) -> None:
    until("the cell to stand still", (lab.folder / "suite" / "held-h1-a").exists, lab)


def test_a_worker_that_is_told_to_stop_keeps_its_results_and_leaves_the_cell_to_others(lab, workers, held):
    night = begun(lab)
    first = workers(1)
    stands_still(lab)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0, lab.log()
    held.unlink()
    workers(2)
    (cell,) = settled(lab, night, done=1).values()
    assert [(one.number, one.status, one.why) for one in cell.attempts] == [
        (1, "stopped", "its worker was stopped"),
        (2, "done", ""),
    ]
    run = Place(str(lab.results)).fetch(night, cell.name, 1, lab.folder)
    assert "KeyboardInterrupt" in (run / "output.txt").read_text()


def test_a_cancelled_cell_is_stopped_and_not_tried_again(lab, workers, held):
    night = begun(lab)
    workers(1)
    stands_still(lab)
    assert "h1/bios/a/none: being stopped" in lab.interop("night", "cancel", night, "--lab", str(lab.lab))
    (cell,) = settled(lab, night, stopped=1).values()
    assert cell.remarks == ["somebody cancelled it"]

    def told() -> bool:
        return "1 stopped" in lab.interop("night", "status", "--lab", str(lab.lab))

    until("the queue to know", told, lab)
    assert len(lab.ran()) == 2


def test_a_database_that_restarts_costs_no_cell_and_no_worker(lab, workers, held, postgresql):
    night = begun(lab)
    worker = workers(1)
    stands_still(lab)
    postgresql.stop()
    postgresql.start()
    held.unlink()
    (cell,) = settled(lab, night, done=1).values()
    assert [(one.number, one.status) for one in cell.attempts] == [(1, "done")]
    lab.night("second", pools=["h2"], images=["a"])
    settled(lab, begun(lab, "second.yaml"), done=1)
    assert worker.poll() is None


def test_what_a_night_did_not_reach_is_listed_and_goes_first_next_night(lab, workers):
    """Both what waited when it was over, and what a worker took too late."""
    lab.night(pools=["h1", "h2"], images=["a", "b"], budget="0s")
    night = begun(lab)
    assert f"{night}: 4 unreached" in lab.interop("night", "status", "--lab", str(lab.lab))
    assert workers(1, "--once").wait(60) == 0
    cells = settled(lab, night, unreached=4)
    assert cells["h1/bios/a/none"].remarks == ["the night was over"]
    assert lab.ran() == []
    lab.night(pools=["h1", "h2", "h3"], images=["c", "b"], priorities=[{"image": "c", "priority": 50}])
    planned = [line.split()[1:4:2] for line in lab.interop("night", "plan", "tiny.yaml").splitlines()[1:7]]
    assert planned == [["h1", "b"], ["h2", "b"], ["h1", "c"], ["h2", "c"], ["h3", "c"], ["h3", "b"]]


def test_a_schedule_begins_a_night_once_however_many_workers_keep_it(lab):
    """The engine keeps the schedule and defers each of its moments once; one that is tried again begins nothing."""
    night = load_night(lab.night(pools=["h1"], schedule="0 20 * * *"))
    workers = [Worker(night.lab, lab.lab, make_app(night.lab), (night,)) for _ in range(2)]
    moment = int(datetime.now(UTC).timestamp())
    (due,) = [task for task in workers[0].app.periodic_registry.periodic_tasks.values() if task.task.name == "night"]
    assert (due.cron, due.configure_kwargs["task_kwargs"]) == ("0 20 * * *", {"name": str(night.path)})
    name = workers[0].night(moment, str(night.path))
    with pytest.raises(UsageError, match=f"{name} has begun already"):
        workers[1].night(moment, str(night.path))
    assert lab.interop("night", "status", "--lab", str(lab.lab)).splitlines()[-1] == f"{name}: 2 waiting"


def test_a_run_that_breaks_is_tried_again_and_one_that_cannot_work_is_not(lab, workers):
    lab.night("broken", pools=["h1"], images=["a"], options=["-p", "no:cacheprovider", "-p", "gone"], attempts=2)
    (lab.folder / "gone.py").write_text("import os; os._exit(3)")
    lab.night("wrong", pools=["h2"], images=["a"], options=["--nonsense"], attempts=2)
    broken, wrong = begun(lab, "broken.yaml"), begun(lab, "wrong.yaml")
    assert workers(1, "--once").wait(100) == 0
    (cell,) = settled(lab, broken, broken=1).values()
    assert [one.status for one in cell.attempts] == ["broken", "broken"]
    (cell,) = settled(lab, wrong, wrong=1).values()
    assert [one.why for one in cell.attempts] == ["pytest was called wrongly"]


def test_a_host_that_is_cordoned_gets_no_cell(lab, workers):
    """Neither of a night that begins, nor of one that has begun."""
    words = ("--lab", str(lab.lab), "--reason", "LAB-3: its disk is dying")
    lab.night(pools=["h1", "h2"], images=["a"])
    lab.interop("host", "cordon", "h2", *words)
    assert "left out: h2/bios/a/none: cordoned by" in lab.interop("night", "start", "tiny.yaml")
    (night,) = Place(str(lab.results)).nights()
    lab.interop("host", "cordon", "h1", *words, "--until", "1h")
    assert workers(1, "--once").wait(60) == 0
    (cell,) = settled(lab, night, unreached=1).values()
    assert "LAB-3: its disk is dying" in cell.remarks[0]
    assert lab.ran() == []


def test_a_worker_of_another_version_leaves_the_night_alone_and_says_so(lab, workers, monkeypatch):
    """Its cells wait for controllers of the version that began it."""
    lab.night()
    monkeypatch.setattr("harness.nights.starting.__version__", "0.0.9")
    night = begun(lab)
    assert workers(1, "--once").wait(60) == 1
    assert f"{night} was begun by harness 0.0.9, and this worker's is" in lab.log()
    assert Place(str(lab.results)).attempts(night) == {}
    assert lab.ran() == []
    assert lab.interop("night", "status", "--lab", str(lab.lab)).splitlines()[-1] == f"{night}: 6 waiting"
