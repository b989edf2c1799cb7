"""Which cmdlets there are, and how they are called: facts, as Microsoft documents them.

``hyperv.json`` is an extract of the documented parameters and parameter sets of the Hyper-V module (MicrosoftDocs,
CC-BY-4.0; parameter facts extracted and rearranged); ``others.json`` says the same of the few cmdlets that come from
elsewhere. A test compares them with the full data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

YEARS: Final = (2016, 2019, 2022, 2025)
BUILDS: Final = {2016: 14393, 2019: 17763, 2022: 20348, 2025: 26100}
"""Builds of Windows Server, by year."""

_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Args:
        name: its name.
        type: PowerShell's short name of its type.
        aliases: other names.
        values: what it accepts; empty: anything of its type.
        pipe: whether objects of the pipeline bind to it.
    """

    name: str
    type: str
    aliases: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    pipe: bool = False


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """Parameters that go together."""

    name: str
    mandatory: frozenset[str]
    optional: frozenset[str]


@dataclass(frozen=True, slots=True)
class Signature:
    """How one cmdlet is called."""

    name: str
    module: str
    parameters: Mapping[str, Parameter]
    sets: tuple[ParameterSet, ...]
    default: str


@cache
def signatures(year: int) -> Mapping[str, Signature]:
    """All emulated cmdlets, by name in lower case, as a Windows Server of this year has them."""
    found: dict[str, Signature] = {}
    modules = {"Hyper-V": _read("hyperv.json"), **_read("others.json")}
    for module, cmdlets in modules.items():
        for name, facts in cmdlets.items():
            if _known(facts, year):
                found[name.lower()] = _signature(name, module, facts, year)
    return found


def _signature(name: str, module: str, facts: Mapping[str, Any], year: int) -> Signature:
    parameters = {
        each: _parameter(each, {"t": fact} if isinstance(fact, str) else fact)
        for each, fact in facts["params"].items()
        if _known(fact, year)
    }
    sets = tuple(
        ParameterSet(each, frozenset(members["m"]) & parameters.keys(), frozenset(members["o"]) & parameters.keys())
        for each, members in facts["sets"].items()
        if all(member in parameters for member in members["m"])
    )
    return Signature(name, module, parameters, sets, facts.get("default", ""))


def _parameter(name: str, fact: Mapping[str, Any]) -> Parameter:
    return Parameter(name, fact["t"], tuple(fact.get("a", ())), tuple(fact.get("v", ())), bool(fact.get("pipe")))


def _known(fact: Any, year: int) -> bool:
    return not isinstance(fact, Mapping) or str(year) in {str(each) for each in fact.get("in", [year])}


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((_FOLDER / name).read_text(encoding="utf-8"))
    return read
