"""Workers say what they are doing, and their controller shows it."""

import subprocess
import sys

from harness.plugin.news import News, send


def test_lines_of_several_processes_arrive_whole(tmp_path):
    """As many as a pipe holds (16 pages, pipe(7)) should nobody read meanwhile: what is beyond that may be lost."""
    heard = []
    news = News(tmp_path / "news", heard.append)
    talk = (
        "import pathlib, sys; from harness.plugin.news import send; "
        "[send(pathlib.Path(sys.argv[1]), sys.argv[2] * 300) for _ in range(25)]"
    )
    words = ("one ", "two ")
    talkers = [subprocess.Popen([sys.executable, "-c", talk, tmp_path / "news", word]) for word in words]
    assert [talker.wait(60) for talker in talkers] == [0, 0]
    news.close()
    assert len(heard) == 50
    assert {line.split()[0] for line in heard} == {"one", "two"}
    assert all(len(set(line.split()[:-1])) == 1 for line in heard)


def test_a_worker_whose_controller_does_not_listen_goes_on(tmp_path):
    send(tmp_path / "nowhere", "opening kvm")
    (tmp_path / "folder").mkdir()
    news = News(tmp_path / "news", lambda _: None)
    news.close()
    send(tmp_path / "news", "opening kvm")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_several_lines_are_told_as_one(tmp_path):
    heard = []
    news = News(tmp_path / "news", heard.append)
    send(tmp_path / "news", "a guest\nfailed")
    news.close()
    assert heard == ["a guest failed"]
