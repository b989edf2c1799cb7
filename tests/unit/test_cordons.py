"""Hosts that nothing may be started on for a while: who said so, why, until when."""

from datetime import UTC, datetime, timedelta

import pytest

from harness.core import UsageError
from harness.lab.cordons import Cordoned, Cordons
from harness.lab.load import read_lab
from harness.lab.server import ServerStore
from harness.lab.store import open_store
from harness.plugin.session import Session

LAB = """
hosts:
  a1: {backend: kvm, pool: a, uri: qemu+ssh://interop@a1.example/system}
  a2: {backend: kvm, pool: a, uri: qemu+ssh://interop@a2.example/system}
networks: {management: {kind: bridge, source: br0, subnet: 192.0.2.0/24}}
"""


@pytest.fixture
def lab(tmp_path):
    return read_lab(LAB, tmp_path / "lab.yaml")


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def cordons(request, tmp_path, lab):
    shared = request.param == "PostgreSQL"
    store = ServerStore(request.getfixturevalue("postgresql").database(), tmp_path) if shared else open_store(tmp_path)
    yield Cordons(store, lab)
    store.close()


def test_a_cordon_says_until_when_by_whom_and_why(cordons):
    until = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=1)
    cordons.put("a1", "new  firmware\n", until, "anna")
    assert str(cordons.all()["a1"]) == f"cordoned until {until:%Y-%m-%d %H:%M} UTC by anna: new firmware"


def test_the_last_word_counts_and_lifting_ends_it(cordons):
    cordons.put("a1", "one")
    cordons.put("a1", "two")
    assert [one.reason for one in cordons.all().values()] == ["two"]
    assert cordons.lift("a1")
    assert not cordons.lift("a1")
    assert cordons.all() == {}


def test_a_cordon_ends_by_itself(cordons):
    cordons.put("a1", "short", datetime.now(UTC) + timedelta(seconds=60))
    with cordons._store.write() as rows:
        rows.run("UPDATE cordons SET until = until - 61")
    assert cordons.all() == {}


def test_what_cannot_be_cordoned_is_told(cordons):
    with pytest.raises(UsageError, match="no host 'a3'; known: a1, a2"):
        cordons.put("a3", "why")
    with pytest.raises(UsageError, match="say why"):
        cordons.put("a1", "  ")
    with pytest.raises(UsageError, match="has passed"):
        cordons.put("a1", "why", datetime(2020, 1, 1, tzinfo=UTC))


def test_tests_run_on_the_other_hosts_of_a_pool_and_are_skipped_where_there_is_none(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path))
    session = Session(lab, run=None, options=None, worker=0, progress=print)
    both = tuple(lab.hosts.values())
    assert session._open_to_us(both) == both
    store = open_store(tmp_path)
    Cordons(store, lab).put("a1", "LAB-3")
    assert [host.name for host in session._open_to_us(both)] == ["a2"]
    with pytest.raises(Cordoned, match="LAB-3"):
        session._open_to_us(both[:1])
    store.close()
