"""QEMU's monitor, asked by threads: a real QEMU without a machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.process import need
from harness.qemu.monitor import Event, Monitor, MonitorLost, MonitorRefused
from harness.qemu.process import Child, spawn


class Qemu:
    """A QEMU and its monitor."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[Event] = []
        ours, theirs = socket.socketpair()
        argv = [need("qemu-system-x86_64", "qemu-system-x86"), "-nodefaults", "-machine", "none", "-display", "none"]
        argv += ["-chardev", f"socket,id=m,fd={theirs.fileno()}", "-mon", "chardev=m,mode=control"]
        self.child: Child = spawn(argv, log=folder / "log", fds=(theirs.fileno(),))
        theirs.close()
        self.monitor = Monitor(ours, heard=self.heard.append)


@pytest.fixture
def qemu(tmp_path) -> Iterator[Qemu]:
    made = Qemu(tmp_path)
    yield made
    made.child.kill()
    made.monitor.close()


def test_a_question_has_its_answer(qemu):
    assert qemu.monitor.ask("query-version")["qemu"]["major"] >= 5
    assert qemu.monitor.command("query-name", {}) == {}


def test_a_refusal_quotes_qemu(qemu):
    with pytest.raises(MonitorRefused, match="no-such-command"):
        qemu.monitor.ask("no-such-command")
    with pytest.raises(MonitorRefused, match="nowhere"):
        qemu.monitor.ask("blockdev-del", node_name="nowhere")


def test_an_event_is_not_missed_between_question_and_wait(qemu):
    since = qemu.monitor.mark()
    qemu.monitor.ask("stop")
    time.sleep(0.1)  # noqa: TID251 - the event comes before anybody waits
    assert qemu.monitor.await_event(since, lambda event: event["event"] == "STOP", 30)
    assert [event["event"] for event in qemu.heard] == ["STOP"]
    assert qemu.monitor.await_event(qemu.monitor.mark(), lambda event: event["event"] == "STOP", 0.1) is None


def test_threads_do_not_get_each_others_answers(qemu):
    answers: list[object] = []

    def work(name: str) -> None:
        for _ in range(20):
            qemu.monitor.ask("object-add", qom_type="iothread", id=name)
            answers.append(name in {each["id"] for each in qemu.monitor.ask("query-iothreads")})
            qemu.monitor.ask("object-del", id=name)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 80


def test_the_end_is_noticed_by_whoever_waits(qemu):
    qemu.monitor.ask("quit")
    assert qemu.monitor.await_event(0, lambda event: event["event"] == "NEVER", 30) is None
    assert qemu.monitor.await_end(30)
    assert qemu.heard[-1]["event"] == "SHUTDOWN"
    with pytest.raises(MonitorLost):
        qemu.monitor.ask("query-version")


def test_a_job_that_fails_says_why(qemu, tmp_path):
    qemu.monitor.ask("blockdev-add", driver="null-co", node_name="nothing", size=1 << 20)
    with pytest.raises(MonitorRefused, match="nothing"):
        qemu.monitor.job("snapshot-save", 30, tag="t", vmstate="nothing", devices=["nothing"])


def test_a_peer_that_does_not_greet_is_no_qemu():
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(MonitorLost, match="within 0 s"):
        Monitor(ours, seconds=0.3)
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(MonitorLost):
        Monitor(ours, seconds=5)
