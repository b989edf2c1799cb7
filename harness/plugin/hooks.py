"""pytest's hooks, each a few lines: what happens when. The work is done by the modules beside this one."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest

from harness.backends import registry
from harness.core import InteropError
from harness.plugin import attempts, demand, multiply, options, order, outcomes, spread
from harness.plugin.deadlines import Deadlines
from harness.plugin.given import or_usage_error
from harness.plugin.lines import LineWriter
from harness.plugin.masking import Masking
from harness.plugin.progress import Progress
from harness.plugin.recorder import Recorder
from harness.plugin.state import GROUPS, KEY, State

if TYPE_CHECKING:  # a stranger's tests don't pay for it
    from harness.plugin.quiet import Watch


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, unless pytest was led astray."""
    or_usage_error(options.refuse_astray, config)
    for name, text in demand.MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    for name in registry.KNOWN:
        config.addinivalue_line("markers", f"{name}: runs on a host of this backend")
    config.stash[KEY] = State(config)
    config.pluginmanager.register(Masking(config.stash[KEY]), "interop_masking")
    config.pluginmanager.register(Recorder(config.stash[KEY]), "interop_recorder")
    config.pluginmanager.register(Deadlines(config.stash[KEY]), "interop_deadlines")
    config.pluginmanager.register(LineWriter(config.stash[KEY]), "interop_lines")
    if not config.stash[KEY].is_worker:
        config.pluginmanager.register(Progress(config.stash[KEY]), "interop_progress")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Multiply tests that ask for our ``host``."""
    if multiply.HOST in metafunc.fixturenames and multiply.is_ours(metafunc.definition):
        state = metafunc.config.stash[KEY]
        try:
            chosen = state.options
            or_usage_error(multiply.parametrize, metafunc, state.lab, chosen.each_host, chosen.host)
        except pytest.UsageError as problem:
            state.problem = state.problem or problem
            metafunc.parametrize(multiply.HOST, [], indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Note what the test asks for, and mark it with its suite's name."""
    state = item.config.stash[KEY]
    try:
        place = state.place(item)
    except pytest.UsageError as problem:
        state.problem = state.problem or problem
        return
    if place is not None:
        state.places[item] = place
        item.add_marker(multiply.marker(item.config, outcomes.suite_of(item)))


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Put what was selected in the order that boots least."""
    state = config.stash[KEY]
    if state.problem is not None:
        raise state.problem
    yield
    _choose(config, state, items)
    order.sort(items, state.places)
    if any(item in state.places for item in items):
        from harness.report.identity import clashes  # noqa: PLC0415  allure loads only where results are written

        doubles = clashes(identity for item in items if (identity := state.identity(item)) is not None)
        if doubles:
            raise pytest.UsageError(
                f"results would hide each other: {'; '.join(doubles)}\n"
                "  hint: tell tests that share a number apart: check('C01', part='...')"
            )


def _choose(config: pytest.Config, state: State, items: list[pytest.Item]) -> None:
    """Leave the checks that ``--check`` names; a test without a number is none of them."""
    if not config.getoption("interop_checks"):
        return
    numbers = {item: place.demand.check or "" for item, place in state.places.items()}
    patterns = state.options.checks
    chosen = [item for item in items if any(fnmatchcase(numbers.get(item, ""), pattern) for pattern in patterns)]
    left = set(items).difference(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = chosen


@pytest.hookimpl(tryfirst=True)  # xdist's worker tells its controller in this hook, which then reads our file of groups
def pytest_collection_finish(session: pytest.Session) -> None:
    """Once it is known that a lab is involved: begin the run, have the image, start writing results."""
    config = session.config
    state = config.stash[KEY]
    # pytest calls this after a usage error, too.
    if (
        state.problem is not None
        or config.option.collectonly
        or not any(item in state.places for item in session.items)
    ):
        return
    opened = state.open()
    assert state.folder is not None
    from harness.plugin.results import Results  # noqa: PLC0415  allure loads only where results are written

    state.results = Results(config, state.folder, state.worker_name, state.redactor)
    if state.is_worker:
        spread.save(state.folder.path / GROUPS, spread.works(state, session.items))
        return
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        or_usage_error(opened.prepare_image)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this host cannot do."""
    state = item.config.stash[KEY]
    place = state.places.get(item)
    if place is None:
        return
    try:
        column = state.open().column(place.column)
    except InteropError as error:
        from harness.lab.cordons import Cordoned  # noqa: PLC0415  strangers' tests don't pay for it
        from harness.lab.twins import NoTwin  # noqa: PLC0415
        from harness.plugin.away import Away  # noqa: PLC0415

        if isinstance(error, (NoTwin, Cordoned)):
            pytest.skip(f"{error.host}: {error.message}")
        if isinstance(error, Away) and state.running is not None:
            state.running.away, state.running.host = True, error.host or ""
            if state.results is not None:
                state.results.away(error.host or "")
            pytest.skip(error.message)
        raise
    if state.open().moved(place.column):
        attempts.tear_down_all(item)
    state.running_on(item, column)
    reason = column.host.lacks(place.demand)
    if reason:
        pytest.skip(reason)
    state.open().begin_activity(place.column)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that measures holds its domain alone. Nothing is known of one whose machine the host moved meanwhile, nor
    of one that measured while others worked there.
    """
    state = item.config.stash[KEY]
    place = state.places.get(item)
    if place is None or state.session is None:
        return (yield)
    with contextlib.ExitStack() as held:
        watch = None
        if place.demand.quiet:
            held.enter_context(state.session.quiet(place.column))
            watch = held.enter_context(state.watched(state.session.column(place.column).host))
        try:
            result = yield
        except (Exception, pytest.fail.Exception):
            _undisturbed(state, item, watch)
            raise
        _undisturbed(state, item, watch)
        return result


def _undisturbed(state: State, item: pytest.Item, watch: Watch | None) -> None:
    """Raise where nothing is known of the test, whatever came of it."""
    lender = state.lender(item)
    for loan in lender.loans if lender else ():
        loan.stayed()
    if watch is not None:
        watch.judge()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Take guests back after the test's own teardown, whatever came of it."""
    try:
        return (yield)
    finally:
        state = item.config.stash[KEY]
        lender = state.lender(item)
        if lender is not None and state.running is not None and not state.running.guests:
            state.running.guests = lender.lives
        # Where the host is gone there is nobody to give them back to; the reaper knows them.
        if lender is not None and state.session is not None and not state.session.is_away(state.places[item].column):
            failed = state.running is not None and state.running.failed
            state.session.finish(lender, state.demand(item), item.nodeid, failed=failed)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run one test; where the lab was at fault, again on a fresh guest."""
    state = item.config.stash[KEY]
    place = state.places.get(item)
    if place is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = attempts.run(state, item, nextitem, place)
    from harness.plugin import known  # noqa: PLC0415  allure loads only where results are written

    assert state.running is not None
    known.settle(state, item, state.running, reports)
    attempts.settle(state.running, reports)
    reports[-1].user_properties.append((outcomes.KEY, state.running.plain()))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    state.running = state.readings = None
    if state.results is not None:
        state.results.end()
    if state.session is not None:
        with contextlib.suppress(InteropError):  # a full disk: the next test says so, and this one has ended
            state.session.end_activity()
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take note of each phase, and of a failure's evidence while the guest is still there."""
    report = yield
    state = item.config.stash[KEY]
    record = state.running
    if record is None or item not in state.places:
        return report
    first_failure = report.failed and not record.failed
    record.note(report, call)
    if report.failed and call.excinfo is not None:
        state.errors[call.when] = call.excinfo
        if record.status == "lab" and state.session is not None:
            state.session.look_after(state.places[item].column, call.excinfo.value)
    if report.when == "call" and state.readings is not None:
        record.warnings = state.readings.warnings()
        if state.results is not None:
            state.results.took(item.nodeid, report.duration)
            state.results.keep(state.readings)
    if first_failure and state.session is not None:
        _explain(state, item, report, call)
    if report.when == "call" or first_failure:
        from harness.plugin import known  # noqa: PLC0415

        known.look(state, item)
    return report


def _explain(state: State, item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """What a failure takes with it: how to repeat it, whose fault it is, and evidence while there are guests."""
    record, session, lender = state.running, state.session, state.lender(item)
    assert record is not None
    assert session is not None
    record.repeat = session.repeat_command(item.nodeid, record.host)
    report.sections.append(("repeat exactly this check with", record.repeat))
    if state.results is None:
        return
    if call.excinfo is not None:
        state.results.blame(call.excinfo.value)
    if lender is not None and report.when != "teardown" and not session.is_away(state.places[item].column):
        from harness.plugin import evidence  # noqa: PLC0415

        for loan in lender.loans:
            state.results.attach(evidence.collect(loan))


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> Any:
    """A failure that is known, a pass that took several tries, and a host that is gone have words of their own."""
    if str(getattr(report, "wasxfail", "")).startswith(outcomes.KNOWN) and report.skipped:
        return "known", "k", ("KNOWN", {"yellow": True})
    if report.when == "call" and getattr(report, outcomes.FLAKY, False):
        return outcomes.FLAKY, "Y", ("FLAKY", {"yellow": True})
    if report.skipped and getattr(report, outcomes.AWAY, False):
        return outcomes.AWAY, "a", ("AWAY", {"yellow": True})
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Xdist: workers join the controller's run."""
    state = node.config.stash[KEY]
    shared = state.share()
    if shared:
        node.workerinput["interop"] = shared


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Xdist: what a worker could not write."""
    node.config.stash[KEY].dropped += getattr(node, "workeroutput", {}).get("interop", ())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Xdist: the workers' tests are known, and none runs yet; twins are started by this process, not by theirs."""
    node.config.stash[KEY].attend_workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Xdist: our own scheduler, unless the user asked for another distribution."""
    state = config.stash[KEY]
    if state.folder is None or config.getvalue("dist") != "load":
        return None
    return spread.scheduler(state, log, state.folder.path / GROUPS)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End the run; what could not be given back is left to the reaper and said."""
    state = session.config.stash[KEY]
    if state.results is not None and state.session is not None and state.session.columns:
        state.results.describe(
            state.named, state.lab, state.session.image, state.session.prepared, state.session.columns
        )
    if state.results is not None and state.results.dropped:
        state.dropped.append(state.results.dropped)
    if state.is_worker:
        vars(session.config)["workeroutput"]["interop"] = state.dropped  # xdist puts it there, and sends it
    elif state.dropped:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR  # not all that tests came to is known
    elif exitstatus == pytest.ExitCode.OK and any(one.status == outcomes.FLAKY for one in state.records.values()):
        from harness.report.summary import FLAKY_STATUS  # noqa: PLC0415  strangers' tests don't pay for it

        session.exitstatus = FLAKY_STATUS
    if state.folder is not None and not state.is_worker:
        try:
            spread.remember(state, state.folder.path / GROUPS)
        except OSError as error:  # a full disk: the next run estimates by what was known before
            state.say(f"what tests took is not kept: {error}")
    problem = state.close()
    if problem is not None:
        state.say(f"closing: {problem}")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what was asked for; of the lab nothing is loaded yet."""
    lab, image, release = (config.getoption(name) for name in ("--lab", "--image", "--release"))
    if release is None:
        return f"interop: lab {lab}, image {image}"
    from harness.plugin.releasing import named_image  # noqa: PLC0415  runs without a release don't pay for it

    return f"interop: lab {lab}, image {named_image(release, image)}, release {release}"
