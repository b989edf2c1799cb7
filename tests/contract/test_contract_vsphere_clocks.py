"""Clocks of a vSphere host: the steps in which they tell time, and how well our driver knows it all the same."""

from __future__ import annotations

import contextlib
import statistics
import time
from itertools import pairwise

import pytest

from harness.core import Pending, wait_for
from tests.contract import vsphere
from tests.contract.vsphere import Watch, every

service = vsphere.service


def test_the_hosts_clock_tells_time_in_steps(site, seen, service):
    """Of how much, the ESXi's own and the service's; and how well our driver knows the first all the same."""
    from pyVmomi import vim

    settings = site.hypervisor.session.settings
    (host,) = [one for one in every(service, vim.HostSystem) if settings.esxi in (None, one.name)][:1]
    clock = host.configManager.dateTimeSystem
    instance = vim.ServiceInstance("ServiceInstance", service.rootFolder._stub)
    notes = {}
    for word, ask in (("esxi", clock.QueryDateTime), ("service", instance.CurrentTime)):
        told, trips = [], []
        since = Watch()
        while since.seconds < 2.5:
            took = Watch()
            told.append(ask().timestamp())
            trips.append(took.seconds)
        steps = [after - before for before, after in pairwise(told) if after != before]
        notes[f"{word}_smallest_step_seconds"] = round(min(steps), 6) if steps else None
        notes[f"{word}_whole_seconds"] = all(one == int(one) for one in told)
        notes[f"{word}_round_trip_seconds"] = round(statistics.median(trips), 4)
        assert sorted(told) == told, "a clock goes forward"
    took = Watch()
    with questions(site.hypervisor.session, "QueryDateTime") as trips:
        # What keeps this machine busy for a moment may spoil a search; without one, no reading ever comes so near.
        reading, quickest = wait_for(
            "a reading as fine as a round trip",
            lambda: fine(site.hypervisor.clock(site.deadline()), trips),
            site.deadline(60),
            fault=AssertionError,
        )
    notes |= {"uncertainty_seconds": round(reading.uncertainty, 4), "reading_took_seconds": took.seconds}
    seen.tell("clocks of the host", **notes, quickest_question_seconds=round(quickest, 4))


def fine(reading, trips):
    """The reading and its quickest round trip, if its search ended where ours promises; both bounds are then that far
    apart at most on either side of it, besides the millisecond in which hosts tell time that tell more than seconds.
    """
    quickest = min(trips)
    trips.clear()
    if reading.uncertainty > quickest + 0.001:
        return Pending(f"{reading.uncertainty:.4f} s, and its quickest round trip took {quickest:.4f} s")
    return reading, quickest


@contextlib.contextmanager
def questions(session, method):
    """The seconds that each call of a method takes from now on."""
    trips, real = [], session.call

    def call(operation, ref, name, deadline, *arguments):
        took = time.perf_counter()
        result = real(operation, ref, name, deadline, *arguments)
        if name == method:
            trips.append(time.perf_counter() - took)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "call", call)
        yield trips
