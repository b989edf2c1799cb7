"""Sessions of vSphere: one that was ended, one that is left alone, and several of one account."""

from __future__ import annotations

import os
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from harness.core.waiting import pause
from tests.contract import vsphere
from tests.contract.vsphere import Watch, content, every, name_of, vim_fault

IDLE = "INTEROP_IDLE_MINUTES"
"""For how long to leave a session alone."""

service = vsphere.service


def test_a_session_that_was_ended_is_not_authenticated_and_our_driver_logs_in_anew(site, seen, service):
    """Ended by force; the next call of the driver works all the same."""
    from pyVmomi import vim

    again = site.connect()
    try:
        key, by = again.session.key, "TerminateSession"
        try:
            service.sessionManager.TerminateSession([key])
        except vim.fault.NoPermission:  # it may be wanted even for one's own
            by = "Logout"
            again.session.call("log out", again.session.manager("sessionManager"), "Logout", site.deadline())
        took = Watch()
        again.owned(site.deadline(), site.run.id)
        renewed = took.seconds
        assert again.session.key != key
    finally:
        again.close()
    with content(site) as other:
        other.sessionManager.Logout()
        fault = None
        try:
            every(other, vim.VirtualMachine)
        except vim_fault() as error:
            fault = error
    seen.tell("a session that was ended", by=by, fault=name_of(fault), next_call_with_login_seconds=renewed)
    assert isinstance(fault, vim.fault.NotAuthenticated)


def test_a_session_that_is_left_alone_ends_at_last(site, seen):
    """A vCenter's after half an hour (reported), a twin's may not: waited for where the environment says how long.
    Whatever the host does, our driver's own session can be used afterwards.
    """
    from pyVmomi import vim

    minutes = float(os.environ.get(IDLE, "0"))
    if not minutes:
        pytest.skip(f"nobody waits for a session to end for being idle: {IDLE}=35 in the environment does")
    again = site.connect()
    try:
        with content(site) as alone:
            pause(timedelta(minutes=minutes))
            fault = None
            try:
                every(alone, vim.VirtualMachine)
            except vim_fault() as error:
                fault = error
        before = again.session.trips["Login"]
        again.owned(site.deadline(), site.run.id)
        renewed = again.session.trips["Login"] - before
    finally:
        again.close()
    seen.tell("a session that was left alone", minutes=minutes, fault=name_of(fault), our_driver_logged_in_anew=renewed)
    assert fault is None or isinstance(fault, vim.fault.NotAuthenticated)


def test_one_account_holds_several_sessions_at_once(site, seen):
    """As workers of a run do; one that is closed takes no other along."""
    many = 4
    barrier = threading.Barrier(many, timeout=120)

    def work(_):
        took = Watch()
        with content(site) as mine:
            seconds = took.seconds
            barrier.wait()
            key = mine.sessionManager.currentSession.key
            barrier.wait()
        return seconds, key

    with content(site) as other, ThreadPoolExecutor(many) as crowd:
        opened = list(crowd.map(work, range(many)))
        assert other.sessionManager.currentSession is not None
    seconds = [each for each, _ in opened]
    keys = {key for _, key in opened}
    seen.tell("sessions of one account", at_once=many + 1, median_login_seconds=round(statistics.median(seconds), 3))
    assert len(keys) == many
