"""Known issues in a run: a failure that is known is shown as such and fails nothing; one that expired says so.

Only failures of product and guest can be known. What the lab is to blame for, and what is a defect of a test, is never
hidden, and neither is a failure of another phase of the same test that no entry explains.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest

from harness.plugin import outcomes
from harness.plugin.outcomes import Record
from harness.report.identity import Fault, fault_of
from harness.report.remarks import KNOWN

if TYPE_CHECKING:  # a stranger's tests in the same run must not pay for these imports
    from harness.lab import Lab
    from harness.lab.known_issues import KnownIssue, KnownIssues, Subject
    from harness.plugin.state import State

_EXPLAINED = (Fault.PRODUCT, Fault.GUEST)
_RAN = ("passed", "flaky", "failed", "guest", "known")


def look(state: State, item: pytest.Item) -> None:
    """While the test's guests are there: ask one what it is, where an issue depends on that and nobody asked yet."""
    lender, place = state.lender(item), state.places[item]
    if lender is None or lender.seen:
        return
    if any(issue.entry.check == place.demand.check and issue.asks_guest for issue in state.known_issues.issues):
        from harness.plugin.evidence import UNAVAILABLE  # noqa: PLC0415

        for loan in lender.loans:
            with suppress(*UNAVAILABLE):  # a guest that cannot tell; then the issue does not fit it
                lender.look_at(loan.guest)
                return


def settle(state: State, item: pytest.Item, record: Record, reports: Sequence[pytest.TestReport]) -> None:
    """Hold a test that has ended against the known issues; the reports of a known failure are failures no more.

    Args:
        state: the run.
        item: the test.
        record: what it came to; takes in what the issues say.
        reports: of its phases, not told to anybody yet. They keep message, traceback and sections.
    """
    subject = _subject(state, item, record)
    if subject is None or record.status not in _RAN:
        return
    fitting, others = state.known_issues.of(subject)
    record.issues, record.misfits = [issue.number for issue in fitting], list(others.items())
    if not fitting:
        return
    today = dt.date.today()  # noqa: DTZ011  a lab's day is its controller's
    if record.status == "passed":
        _passed(record, [issue for issue in fitting if not issue.entry.sometimes])
    else:
        _failed(state, record, [report for report in reports if report.failed], fitting, today)
    if state.results is not None and (record.tracker or record.news):
        issue = state.known_issues.issues[record.issue]
        name = f"{KNOWN}, {'expired' if issue.expired(today) else 'until'} {issue.entry.expires}"
        state.results.know(known=record.status == "known", tracker=(name, issue.entry.tracker), news=record.news)


def _passed(record: Record, fitting: Sequence[KnownIssue]) -> None:
    if fitting:
        issue = fitting[0]
        _note(record, issue, f"passes, though {issue.entry.tracker} is known to fail it ({issue.where})")


def _failed(
    state: State, record: Record, failed: Sequence[pytest.TestReport], fitting: Sequence[KnownIssue], today: dt.date
) -> None:
    live = [issue for issue in fitting if not issue.expired(today)]
    if known := _explaining(state, failed, live):
        record.status = "known"
        _note(record, known)
        for report in failed:
            # What pytest, xdist, -x and JUnit files take for an expected failure; message and traceback stay.
            report.outcome = "skipped"
            report.wasxfail = f"{outcomes.KNOWN}{known.entry.tracker} until {known.entry.expires}: {known.entry.reason}"
    elif old := _explaining(state, failed, [issue for issue in fitting if issue.expired(today)]):
        text = f"the known issue {old.entry.tracker} expired on {old.entry.expires}, so this fails again ({old.where})"
        _note(record, old, text)
    elif live:
        _note(record, live[0], f"this is another failure than {live[0].entry.tracker} is about ({live[0].where})")


def _explaining(state: State, failed: Sequence[pytest.TestReport], issues: Sequence[KnownIssue]) -> KnownIssue | None:
    """The first of the issues that explain all that failed; None where something remains that none explains."""
    found = []
    for report in failed:
        error = state.errors.get(report.when)
        if error is None or fault_of(error.value) not in _EXPLAINED:
            return None
        message = error.exconly()
        found.append(next((issue for issue in issues if issue.explains(message)), None))
    return found[0] if found and all(found) else None


def _note(record: Record, issue: KnownIssue, news: str = "") -> None:
    record.issue, record.tracker, record.news = issue.number, issue.entry.tracker, news


def _subject(state: State, item: pytest.Item, record: Record) -> Subject | None:
    from harness.lab.known_issues import Subject  # noqa: PLC0415

    place, identity, session = state.places[item], state.identity(item), state.session
    column = session.opened(place.column) if session is not None else None
    if identity is None or session is None or column is None:
        return None
    facts, image, seen = column.host.facts, session.image, column.lender.seen
    return Subject(
        check=identity.check,
        pool=column.settings.pool,  # with --each-host, the identity's is a host
        part=identity.part,
        params=dict(identity.parameters),
        host=column.host.name,
        backend=column.host.backend,
        product=facts.product,
        version=facts.version,
        build=facts.build,
        accelerated=facts.accelerated,
        twin=facts.twin,
        image=image.name,
        digest=image.digest,
        distribution=seen.get("distribution", ""),
        kernel=seen.get("kernel", image.labels.get("kernel", "")),
        services=column.lender.services,
    )


def tidings(book: KnownIssues, records: Iterable[Record], lab: Lab) -> list[tuple[str, str]]:
    """What there is to say of known issues when a run has ended: a word and a line for each issue.

    ``known`` failed as it says; ``expired`` did, after its day; ``again``: every test that it fits passed; ``other``: a
    test failed otherwise; ``unused``: its check ran, and it fits none of the tests.
    """
    ran = [record for record in records if record.status in _RAN]
    found = []
    for issue in book.issues:
        fits = [record for record in ran if issue.number in record.issues]
        counts = [record for record in fits if record.issue == issue.number]
        known = [record for record in counts if record.status == "known"]
        failed = [record for record in counts if record.status in ("failed", "guest")]
        entry = issue.entry
        if known:
            found.append(("known", f"{_where(issue, known)}: {entry.tracker} until {entry.expires}: {entry.reason}"))
        if failed:
            word = "expired" if "expired" in failed[0].news else "other"
            found.append((word, f"{_where(issue, failed)}: {failed[0].news}"))
        if fits and not entry.sometimes and all(record.status in ("passed", "flaky") for record in fits):
            found.append(("again", f"{_where(issue, fits)} passes again: {entry.tracker}; remove {issue.where}"))
        if not fits and (why := _unused(issue, ran, lab)):
            found.append(("unused", f"{issue.where} {entry.check}: {why} ({entry.tracker})"))
    return found


def _where(issue: KnownIssue, records: Sequence[Record]) -> str:
    pools = ", ".join(sorted({record.pool for record in records}))
    count = f" ({len(records)} tests)" if len(records) > 1 else ""
    return f"{issue.entry.check} on {pools}{count}"


def _unused(issue: KnownIssue, ran: Sequence[Record], lab: Lab) -> str:
    """Why an issue fits nothing though its check ran where it is about; empty where that did not run."""
    entry = issue.entry
    # With --each-host, a column is called as its host.
    columns = {name: host for host in lab.hosts.values() for name in (host.pool, host.name)}
    there = [
        record
        for record in ran
        if record.check == entry.check
        and fnmatchcase(columns[record.pool].pool, entry.host.pool or "*")
        and entry.host.backend in (None, columns[record.pool].backend)
    ]
    if not there:
        return ""
    reasons = [why for record in there for number, why in record.misfits if number == issue.number]
    return reasons[0] if reasons else "no test of this run has its part and parameters"
