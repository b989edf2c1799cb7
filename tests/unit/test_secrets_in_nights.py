"""The password of the database that a night lives on, and those that its runs know, stand nowhere but there."""

import os
from urllib.parse import quote

import pytest

from harness.core import Deadline
from tests.unit.night_lab import NightLab
from tests.unit.planted_secrets import leaks, search, secret

SUITE = """
import atexit, logging, os

def test_shows_all(record_property):
    words = [os.environ["LAB_DATABASE"], os.environ["STORE_TOKEN"]]
    print(words)
    record_property("words", str(words))
    logging.getLogger("psycopg").error("no connection to %s", words)
    atexit.register(os.write, 2, f"past pytest: {words}".encode())  # as a library's own threads and children do
    assert not words
"""


@pytest.fixture
def lab(tmp_path, postgresql, monkeypatch):
    """A lab whose database's whole URL is a secret; the server takes any password."""
    planted = {"database": secret("database"), "store": secret("store")}
    url = postgresql.database()
    monkeypatch.setenv("LAB_DATABASE", url.replace("@", f":{quote(planted['database'], safe='')}@"))
    monkeypatch.setenv("STORE_TOKEN", planted["store"])
    made = NightLab(tmp_path, "env:LAB_DATABASE", hosts=("h1",))
    (tmp_path / "suite" / "test_tiny.py").write_text(SUITE)
    made.night(images=["a"])
    return made, planted


def test_a_night_tells_nobody_what_it_logs_in_with(lab, postgresql):
    """Neither results that are brought, nor the queue's tables, nor the server's log, nor what any command says."""
    made, planted = lab
    said = made.interop("night", "plan", "tiny.yaml") + made.interop("night", "start", "tiny.yaml")
    worker = made.worker(1, "--once")
    assert worker.wait(Deadline.after(120).seconds) == 0, made.log()
    said += made.interop("night", "status", "--lab", "lab.yaml") + made.interop("lab", "check", "lab.yaml")
    [output] = made.results.rglob("output.txt")
    assert "past pytest: ['********', '********']" in output.read_text()
    assert "********" in next(made.results.rglob("junit.xml")).read_text()
    assert leaks(said.encode(), planted) == set()
    assert search(made.folder, planted) == {}
    tables = postgresql.dump()
    assert b"procrastinate_jobs" in tables
    assert leaks(tables + (postgresql.folder / "log").read_bytes(), planted) == set()


def test_a_database_that_refuses_is_told_without_its_password(lab, monkeypatch):
    """In the words of SQLAlchemy, psycopg and procrastinate."""
    made, planted = lab
    monkeypatch.setenv("LAB_DATABASE", os.environ["LAB_DATABASE"].replace("@/test", "@/none"))
    said = ""
    for words in ("night start tiny.yaml", "night status --lab lab.yaml", "lab check lab.yaml --connect"):
        done = made.process(*words.split())
        assert done.returncode == 1
        said += done.stdout + done.stderr
    assert 'database "none' in said
    assert leaks(said.encode(), planted) == set()
