"""What a run would do, without a guest: every selected check, and on each host whether it runs or why not.

A plugin for ``--collect-only`` runs: ``-p harness.plugin.checklist --checklist FILE`` writes what was found, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from harness.backends.model import Firmware
from harness.backends.protocol import HostClock
from harness.core import Deadline, InteropError
from harness.lab import connect
from harness.lab.limits import LimitFile
from harness.lab.twins import NoTwin
from harness.plugin import outcomes
from harness.plugin.host_under_test import HostUnderTest
from harness.plugin.releasing import NO_RELEASE, RELEASE
from harness.plugin.session import members_of
from harness.plugin.state import KEY, State

_LOOK = timedelta(minutes=1)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Listed:
    """One test of one column.

    Args:
        check: its number; ``-`` for one without.
        title: what it asserts.
        suite: the folder it lies in.
        column: the pool or host.
        why_not: why it would not run; empty where it would.
        fails: whether it would fail for that, its host being down, and not be skipped.
    """

    check: str
    title: str
    suite: str
    column: str
    why_not: str
    fails: bool = False


@dataclass(frozen=True, slots=True)
class ClockBound:
    """How well a host's clock can be known.

    Args:
        column: the pool or host.
        uncertainty: seconds to either side, of one reading; None where it could not be read.
        too_coarse_for: the limits of offsets that ask for more than that: checks that use them are skipped.
        why_not: why it could not be read.
    """

    column: str
    uncertainty: float | None
    too_coarse_for: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class InForce:
    """A limit or a size of a check, as it holds on a host.

    Args:
        column: the pool or host.
        key: the limit's or size's name.
        value: what it is.
        warns: going beyond it only warns, because nobody calibrated it.
        source: who says so; empty for a size.
    """

    column: str
    key: str
    value: str
    warns: bool
    source: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where the list goes."""
    parser.addoption("--checklist", metavar="FILE", help="where to write what would run, and what not and why")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the list."""
    config.pluginmanager.register(Checklist(Path(config.getoption("--checklist"))), "interop_checklist")


@dataclass(slots=True)
class Checklist:
    """Opens the hosts of what was collected; builds no image, makes nothing on them, and reaps nothing.

    Args:
        file: where the list is written.
    """

    file: Path
    listed: list[Listed] = field(default_factory=list)
    clocks: list[ClockBound] = field(default_factory=list)
    limits: list[InForce] = field(default_factory=list)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Ask each column about its tests."""
        state = session.config.stash[KEY]
        if state.problem is not None:
            return
        state.reaps = False
        hosts: dict[str, HostUnderTest | InteropError] = {}
        for item in session.items:
            place = state.places.get(item)
            if place is None:
                continue
            if place.column not in hosts:
                hosts[place.column] = _opened(state, place.column)
            host = hosts[place.column]
            down = isinstance(host, InteropError)
            why_not = str(host.message) if isinstance(host, InteropError) else host.lacks(place.demand) or ""
            if not why_not and RELEASE in place.fixtures and state.release is None:
                why_not = NO_RELEASE
            self.listed.append(
                Listed(
                    place.demand.check or "-",
                    outcomes.title_of(item),
                    outcomes.suite_of(item),
                    place.column,
                    state.unsaid(why_not),
                    fails=down and not isinstance(host, NoTwin),
                )
            )
        for name, host in hosts.items():
            if isinstance(host, HostUnderTest):
                self.clocks += [replace(one, why_not=state.unsaid(one.why_not)) for one in _clock(name, host)]
                self.limits += _in_force(name, host, {row.check for row in self.listed if row.column == name})
                host.hypervisor.close()
        told = {
            "checks": [asdict(each) for each in self.listed],
            "clocks": [asdict(each) for each in self.clocks],
            "limits": [asdict(each) for each in self.limits],
        }
        self.file.write_text(json.dumps(told), encoding="utf-8")


def _opened(state: State, name: str) -> HostUnderTest | InteropError:
    """The first host of a column that can be reached; else why the last one could not."""
    problem: InteropError | None = None
    for member in members_of(state.lab, name, state.options.host):
        try:
            state.attend(member)
            return HostUnderTest.reached(member, name, connect(member, state.run), state.calibration)
        except InteropError as error:
            problem = error
    assert problem is not None, f"the column {name} has no host"
    return problem


def _clock(name: str, host: HostUnderTest) -> list[ClockBound]:
    if not isinstance(host.hypervisor, HostClock):
        return []
    try:
        uncertainty = host.hypervisor.clock(Deadline.after(_LOOK)).uncertainty
    except InteropError as error:
        return [ClockBound(name, None, why_not=str(error.message))]
    limits = host.expectations(Firmware.BIOS).limits
    coarse = (key for key, limit in limits.items() if key.endswith(".offset") and not _tells(uncertainty, limit))
    return [ClockBound(name, uncertainty, tuple(sorted(coarse)))]


def _tells(uncertainty: float, limit: LimitFile) -> bool:
    """Whether a clock that is known to so many seconds can be held to a limit."""
    return limit.at_most is None or limit.unit not in _SECONDS or limit.at_most * _SECONDS[limit.unit] > uncertainty


def _in_force(name: str, host: HostUnderTest, checks: set[str]) -> list[InForce]:
    """Limits and sizes of these checks (of BIOS machines: they differ by firmware nowhere)."""
    expect = host.expectations(Firmware.BIOS)
    limits = [
        InForce(name, key, limit.range, not limit.calibrated, limit.source) for key, limit in expect.limits.items()
    ]
    sizes = [InForce(name, key, str(size), False, "") for key, size in expect.sizes.items()]
    return [one for one in (*limits, *sizes) if one.key.partition(".")[0] in checks]
