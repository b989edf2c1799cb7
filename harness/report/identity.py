"""Who a result is: its check's number, its named parameters and its pool; never the Python path it came from.

History must survive a renamed test, and must not mix two hypervisors. Allure derives both identities it works with from
what a result file says: *test case* (what the Environments tab lines up across pools) from ``testCaseId``, *history*
from the test case and every parameter that is not excluded. So the pool stays a parameter, and ``testCaseId`` is
stamped from everything but the pool.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from allure_commons import hookimpl
from allure_commons.model2 import Label, Parameter, Status, StatusDetails, TestResult

from harness import __version__
from harness.backends.protocol import Moved, NotQuiet
from harness.core import GuestError, LabError
from harness.report.remarks import Remarks, described, remark

POOL = "pool"
HARNESS = "harness"
"""The label with the version of the harness that wrote a result."""
SOURCE = "source"
"""The label with the digest of the check's source (:mod:`harness.plugin.sources`)."""
SOURCE_SCHEME = 1
"""How those digests are made; digests of two schemes say nothing about each other."""

# What `repr` says of an object without one of its own: true for one process only.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

# In front of an exception's class: lists of messages are cut early, and the class says enough.
_MODULE = re.compile(r"^harness(?:\.\w+)*\.(?=\w+: )")

# Labels of allure-pytest that tell where the Python code lies or which process ran it, and those we write ourselves.
_REPLACED = frozenset(
    {
        "parentSuite",
        "suite",
        "subSuite",
        "epic",
        "feature",
        "story",
        "host",
        "thread",
        "fault",
        "check",
        POOL,
        "backend",
        "news",
        "earlier",
        HARNESS,
        SOURCE,
        "attempt",
    }
)


class Fault(StrEnum):
    """Whose fault a failure is: the report's categories."""

    PRODUCT = "product"
    """A check's assertion: the hypervisor or its integration services did not keep their promise."""
    GUEST = "guest"
    """The guest panicked, hung or never booted."""
    MOVED = "moved"
    """The host moved the machine, or reset it by itself: nothing is known of the product."""
    NOT_QUIET = "not quiet"
    """Others used the host while it was measured: nothing is known of the product."""
    LAB = "lab"
    """Host, network, credentials, disk space, bad input."""
    HARNESS = "harness"
    """Any other exception: a defect of the test or of the harness."""


def fault_of(error: BaseException) -> Fault:
    """Whose fault an exception is; a group is its first member's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Moved):
        return Fault.MOVED
    if isinstance(error, NotQuiet):
        return Fault.NOT_QUIET
    if isinstance(error, LabError):
        return Fault.LAB
    if isinstance(error, GuestError):
        return Fault.GUEST
    # pytest.fail() and its like derive from BaseException and speak of the product, as an assertion does.
    if isinstance(error, AssertionError) or type(error).__name__ == "Failed":
        return Fault.PRODUCT
    return Fault.HARNESS


@dataclass(frozen=True, slots=True)
class Identity:
    """One test on one pool.

    Args:
        check: the check's number (``C01``, ``ACME-001``); None for a test that has none.
        title: what the check asserts, as a sentence.
        suite: ``vcpu``, ``clock`` ...
        pool: the pool it runs for.
        part: tells tests apart that share a check's number and parameters (``reboot`` of ``I11``).
        parameters: name and text of each of the test's own parameters; the pool is not among them.
        host: the member of the pool that runs it; evidence, not identity: members are interchangeable.
        backend: ``kvm``, ``hyperv``, ``vsphere``.
        twin: the host is a stand-in.
        thread: the worker that runs it (``gw0``); empty without workers.
        test: the test's own name, used as its identity where there is no check number.
        source: the digest of its source as it ran; evidence, not identity.
    """

    check: str | None
    title: str
    suite: str
    pool: str
    part: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    host: str = ""
    backend: str = ""
    twin: bool = False
    thread: str = ""
    test: str = ""
    source: str = ""

    @property
    def full_name(self) -> str:
        """``C01``, ``I11 reboot``, or the test's own name."""
        return " ".join(part for part in (self.check or self.test or self.title, self.part) if part)

    @property
    def label(self) -> str:
        """What the report's tree shows, before the parameters: number and sentence."""
        return f"{self.check} {self.title}" if self.check else self.title

    @property
    def shown(self) -> str:
        """The title of one result: two sets of parameters must read differently in a list."""
        values = ", ".join(f"{name}={value}" for name, value in sorted(self.parameters))
        return f"{self.label} ({values})" if values else self.label

    @property
    def test_case_id(self) -> str:
        """The same on every pool: what the Environments tab lines up."""
        return digest(self.full_name, *(f"{name}={value}" for name, value in sorted(self.parameters)))

    @property
    def history_id(self) -> str:
        """One line of history: a test case on one pool."""
        return digest(self.test_case_id, self.pool)

    def on(self, host: str, *, backend: str | None = None, twin: bool | None = None) -> Identity:
        """The same test, once it is known which member of the pool runs it."""
        return replace(
            self,
            host=host,
            backend=self.backend if backend is None else backend,
            twin=self.twin if twin is None else twin,
        )


def digest(*parts: str) -> str:
    """A stable name of some text; separators keep ``ab, c`` and ``a, bc`` apart."""
    return hashlib.md5("\0".join(parts).encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()


def clashes(identities: Iterable[Identity]) -> list[str]:
    """Titles of tests that have one identity on one pool: their results would hide each other as retries."""
    alike: dict[str, list[Identity]] = {}
    for identity in identities:
        alike.setdefault(identity.history_id, []).append(identity)
    return [
        f"{' and '.join(dict.fromkeys(one.shown for one in same))} on {same[0].pool}"
        for same in alike.values()
        if len(same) > 1
    ]


def text_of(value: object) -> str:
    """A parameter's value as it stands in an identity: words bare, everything else by its stable ``repr``."""
    if isinstance(value, str):
        return str.__str__(value)  # of an enumeration the text alone: what goes from process to process has no classes
    return _ADDRESS.sub("", str(value) if isinstance(value, (int, float)) else repr(value))


def labels_of(identity: Identity) -> list[Label]:
    """Everything the report groups and filters by."""
    pairs = [
        ("epic", identity.suite),
        ("feature", identity.suite),
        ("story", identity.label),
        ("suite", identity.suite),
        (POOL, identity.pool),
        ("host", identity.host or identity.pool),
        ("thread", identity.thread or "main"),
        (HARNESS, __version__),
    ]
    if identity.source:
        pairs.append((SOURCE, identity.source))
    if identity.parameters:
        pairs.append(("subSuite", identity.label))
    if identity.check:
        pairs.append(("check", identity.check))
    if identity.backend:
        pairs.append(("backend", identity.backend))
    if identity.twin:
        pairs.append(("tag", "twin"))
    return [Label(name=name, value=value) for name, value in pairs]


class Stamper:
    """An ``allure_commons`` hook object that gives every result its identity just before it is written.

    Stamped last, because a title set while a fixture sets up is overwritten by allure-pytest afterwards.

    Args:
        plumbing: names of parameters that only say on which pool a test runs.
    """

    def __init__(self, plumbing: frozenset[str] = frozenset({"host", POOL})) -> None:
        self._plumbing = plumbing
        self._identity: Identity | None = None
        self._fault: Fault | None = None
        self._remarks = Remarks()

    def begin(self, identity: Identity | None) -> None:
        """A test begins (or its host is known now); None for a test that is none of ours."""
        if identity is None or self._identity is None or identity.history_id != self._identity.history_id:
            self._fault, self._remarks = None, Remarks()
        self._identity = identity

    def warn(self, warnings: Iterable[str]) -> None:
        """The running test exceeded limits that only warn."""
        self._remarks = replace(self._remarks, warnings=tuple(warnings))

    def know(self, *, known: bool, trackers: tuple[tuple[str, str], ...], news: str) -> None:
        """What known issues say of the running test; see :class:`Remarks`."""
        self._remarks = replace(self._remarks, known=known, trackers=trackers, news=news)

    def again(self, status: str, reason: str = "") -> None:
        """The running test is tried once more, after it came to ``status``: that failure counts no longer."""
        tries = (*self._remarks.tries, f"{status}: {reason}" if reason else status)
        self._fault, self._remarks = None, Remarks(earlier=status, tries=tries)

    def number(self, attempt: int) -> None:
        """Which try of its run the running test is."""
        self._remarks = replace(self._remarks, attempt=attempt)

    def away(self, host: str) -> None:
        """The running test's host is not available."""
        if self._identity is not None:
            self._identity = self._identity.on(host)
        self._remarks = replace(self._remarks, away=True)

    def blame(self, error: BaseException) -> None:
        """The running test failed with ``error``; the first failure of a test is the one that counts."""
        if self._fault is None:
            self._fault = fault_of(error)

    @hookimpl(tryfirst=True)
    def report_result(self, result: TestResult) -> None:
        """Stamp a result that is about to be written."""
        if self._identity is not None:
            stamp(result, self._identity, self._fault, self._plumbing, self._remarks)


def stamp(
    result: TestResult,
    identity: Identity,
    fault: Fault | None,
    plumbing: frozenset[str],
    remarks: Remarks | None = None,
) -> None:
    """Write ``identity`` onto ``result``, in place of whatever was derived from the Python path."""
    remarks = remarks or Remarks()
    if identity.check or identity.test:
        result.fullName = identity.full_name
    result.name = identity.shown
    result.description = described(identity.title, result.description, remarks)
    result.titlePath = [identity.suite]
    result.testCaseId = identity.test_case_id
    result.historyId = identity.history_id
    result.parameters = _parameters(result.parameters, identity, plumbing)
    result.labels = [label for label in result.labels if label.name not in _REPLACED] + labels_of(identity)
    remark(result, remarks)
    if result.status in (Status.FAILED, Status.BROKEN):
        if fault is None:
            fault = Fault.PRODUCT if result.status == Status.FAILED else Fault.HARNESS
        result.labels.append(Label(name="fault", value=fault.value))
        if fault in (Fault.MOVED, Fault.NOT_QUIET):
            result.status = Status.UNKNOWN
        if result.statusDetails is not None and result.statusDetails.message:
            result.statusDetails.message = _MODULE.sub("", result.statusDetails.message)
        if result.statusDetails is None:
            # A strict xpass fails without saying a word.
            result.statusDetails = StatusDetails(message="XPASS(strict): passed, though it was expected to fail")


def _parameters(found: list[Any], identity: Identity, plumbing: frozenset[str]) -> list[Parameter]:
    """The identity's parameters; whatever a test adds while it runs is shown, and is no part of its identity."""
    own = [Parameter(name=name, value=value) for name, value in sorted(identity.parameters)]
    known = {name for name, _ in identity.parameters} | plumbing | {POOL}
    extra = [
        Parameter(name=parameter.name, value=_ADDRESS.sub("", str(parameter.value)), excluded=True, mode=parameter.mode)
        for parameter in found
        if parameter.name not in known
    ]
    return [*own, Parameter(name=POOL, value=identity.pool), *extra]
