"""A run removes first what dead runs left, as far as the journal knows of it."""

from __future__ import annotations

from harness.backends.views import ResourceKind
from harness.lab import Run, load_lab
from harness.lab.journal import entries
from harness.lab.store import open_store
from harness.plugin import leftovers
from tests.unit.test_reaper import die


def test_what_a_dead_run_left_is_reaped_and_said(tmp_path, monkeypatch):
    """On a twin that is gone by now, where nothing has to be opened; a second time there is nothing to say."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path))
    lab = load_lab("hyperv-twin")
    run = Run.begin(lab)
    with run.ledger(lab.hosts["hyperv"]).creating(ResourceKind.MACHINE, "left") as creation:
        creation.made("left")
    said: list[str] = []
    leftovers.clear(lab, said.append)
    assert said == []  # it lives
    die(run)
    leftovers.clear(lab, said.append)
    assert said == ["reaping first what dead runs left on hyperv: 1 in the journal"]
    assert entries(open_store(), lab=str(lab.path)) == []
    leftovers.clear(lab, said.append)
    assert len(said) == 1
