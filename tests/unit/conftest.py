"""What several unit tests share."""

import pytest

from harness.guest.ssh import Ssh
from tests import postgresql as databases
from tests.unit.reaped_lab import Scene
from tests.unit.ssh_server import SshServer


@pytest.fixture(autouse=True)
def _nobodys_worker(monkeypatch):
    """Inner runs ask whether they are a worker, and of which name; this test's own worker is not theirs."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server; ask it for a database of the test's own."""
    with databases.server() as one:
        yield one


@pytest.fixture
def server(tmp_path):
    """A real ssh server on this machine, in the place of a guest's."""
    server = SshServer(tmp_path)
    yield server
    server.close()


@pytest.fixture
def ssh(server):
    """The way into a guest that this server stands for."""
    ssh = Ssh("guest", lambda _: server.endpoint, server.login)
    yield ssh
    ssh.disconnect()


@pytest.fixture
def scene(tmp_path):
    """A lab of which the reaper decides what goes, and its runs."""
    scene = Scene(tmp_path)
    yield scene
    for run in scene.runs:
        run.close()
