"""The signatures of emulated cmdlets are those that Microsoft documents."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.twins.hyperv.emulated.signatures import YEARS, signatures
from harness.twins.hyperv.emulated.table import TABLE

DATA = os.environ.get("INTEROP_HYPERV_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="INTEROP_HYPERV_DATA names no documented cmdlets")


def documented(name):
    folder = Path(DATA)
    return json.loads((folder if folder.is_dir() else folder.parent).joinpath(name).read_text(encoding="utf-8"))


def test_every_cmdlet_that_is_known_is_answered_and_the_other_way_round():
    for year in YEARS:
        assert signatures(year).keys() <= TABLE.keys()
    assert TABLE.keys() == set().union(*(signatures(year).keys() for year in YEARS))


@needs_data
def test_signatures_of_hyper_v_are_the_documented_ones():
    cmdlets = documented("hyperv-cmdlets.json")["cmdlets"]
    ours = json.loads(Path("harness/twins/hyperv/emulated/hyperv.json").read_text(encoding="utf-8"))
    assert {name: cmdlets[name] for name in ours} == ours


@needs_data
def test_parameters_of_other_modules_are_documented_ones():
    known = {
        name.lower(): {
            each.lower()
            for facts in [cmdlet]
            for parameter, fact in facts.items()
            for each in (parameter, *(fact[1] if isinstance(fact, list) else ()))
        }
        for module in documented("windows-core-cmdlets.json")["modules"].values()
        for name, cmdlet in module.items()
    }
    for signature in signatures(2022).values():
        if signature.module == "Hyper-V" or signature.name.lower() not in known:
            continue
        ours = {each.lower() for one in signature.parameters.values() for each in (one.name, *one.aliases)}
        assert ours <= known[signature.name.lower()], signature.name


def test_years_differ_in_what_they_have():
    assert "SourceGuestStatePath" in signatures(2025)["new-vm"].parameters
    assert "SourceGuestStatePath" not in signatures(2022)["new-vm"].parameters
