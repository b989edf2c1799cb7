"""Failures that are known: which check, where, in which versions, who follows it, and until when that is accepted.

A file of entries (``configs/known-issues.yaml``). An entry fits a test where everything that it names agrees; what is
not known of the test (the kernel of a guest that never booted) agrees with nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from harness.core import paths
from harness.core.config import StrictModel, position, read_yaml, validate
from harness.core.versions import Version, VersionRange, within

NAME = "known-issues.yaml"

# As checks are numbered (CONTRIBUTING.md).
_NUMBER = r"[A-Z]\d{2}|[A-Z][A-Z0-9]+-\d{3,}"
_ADDRESS = r"https?://\S+"

SOON = dt.timedelta(days=30)
"""How long before its day an entry is said to expire soon."""


def _a_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


def _a_pattern(text: str) -> str:
    if not text.strip():
        raise ValueError("an empty pattern fits nothing; leave the key out where it does not matter")
    return text


def _a_number(text: str) -> str:
    if not re.fullmatch(_NUMBER, text):
        raise ValueError(f"{text!r} is not a check's number; write C01 or ACME-001")
    return text


def _an_address(text: str) -> str:
    if not re.fullmatch(_ADDRESS, text):
        raise ValueError(f"{text!r} is no address that opens in a browser; write https://...")
    return text


Pattern = Annotated[str, AfterValidator(_a_pattern)]


class HostOf(StrictModel):
    """Which hosts; what is not named does not matter."""

    pool: Pattern | None = None
    """The pool, as a pattern: `esxi*`."""
    name: Pattern | None = None
    """The host of the lab, as a pattern."""
    backend: str | None = None
    """The driver: `kvm`, `hyperv`, `vsphere`."""
    product: Pattern | None = None
    """The product as the host states it, as a pattern: `Microsoft Hyper-V`."""
    version: VersionRange | None = None
    """Versions of the product: `>=8.0, <8.0.3`."""
    build: VersionRange | None = None
    """Builds of the product: `>=17763.1, <17763.5329`."""
    accelerated: str | None = None
    """What runs the vCPUs: `kvm`, `tcg`, `hyperv`, `vmware`."""
    twin: bool | None = None
    """True: stand-ins alone; false: real hosts alone."""


class GuestOf(StrictModel):
    """Which guests; what is not named does not matter."""

    image: Pattern | None = None
    """The image's name, as a pattern, or the first digits of its sha256."""
    distribution: Pattern | None = None
    """PRETTY_NAME of its os-release(5), as a pattern: `Debian GNU/Linux 12*`."""
    kernel: VersionRange | None = None
    """Versions of its kernel, flavour left out: `>=6.1.0-20, <6.1.0-40`."""
    services: dict[str, VersionRange] = Field(default_factory=dict)
    """Versions of its integration services, by package: `open-vm-tools: "<12.3"`. All of them must agree."""


class Entry(StrictModel):
    """One known issue."""

    check: Annotated[str, AfterValidator(_a_number), Field(json_schema_extra={"pattern": f"^({_NUMBER})$"})]
    """The check's number."""
    part: str | None = None
    """The part of it, where tests share the number (`reboot`)."""
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Parameters of the test (`vcpus: 8`); those that are not named do not matter."""
    host: HostOf = HostOf()
    """Which hosts it is about; left out: all."""
    guest: GuestOf = GuestOf()
    """Which guests it is about; left out: all."""
    message: Annotated[str, AfterValidator(_a_regex)] | None = None
    """A regular expression that is searched for in the failure's message: the same check may fail for another reason,
    and that is not known. Left out: any failure."""
    sometimes: bool = False
    """The failure comes and goes: that the test passed is no news then."""
    tracker: Annotated[str, AfterValidator(_an_address), Field(json_schema_extra={"pattern": f"^{_ADDRESS}$"})]
    """Where it is followed: an address that opens in a browser."""
    reason: Annotated[str, StringConstraints(min_length=3, strip_whitespace=True)]
    """What is wrong, in a sentence."""
    expires: Annotated[dt.date, Field(strict=False)]
    """From this day on (by the controller's clock) it fails again, and somebody must look."""


class KnownIssuesFile(StrictModel):
    """Failures that are known and accepted until a day: they are shown as such, and do not fail a run."""

    known: tuple[Entry, ...] = ()
    """The entries; the first that fits a failure is the one that counts."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A test that was run, as entries see it; empty: not known.

    Args:
        check: its number; None for one without.
        part: what tells it apart from others of that number.
        params: name and text of its parameters.
        pool: the pool it ran for.
        host: which member ran it.
        backend: its driver.
        product: what it is.
        version: the product's version.
        build: the product's build.
        accelerated: what ran the vCPUs.
        twin: a stand-in.
        image: name of the guest image.
        digest: its sha256.
        distribution: what the guest said it is.
        kernel: the release of its kernel.
        services: versions of its integration services, by package.
    """

    check: str | None
    pool: str
    part: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    backend: str = ""
    product: str = ""
    version: str = ""
    build: str = ""
    accelerated: str = ""
    twin: bool = False
    image: str = ""
    digest: str = ""
    distribution: str = ""
    kernel: str = ""
    services: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """An entry, and where it stands.

    Args:
        number: its place in the file, from 0.
        where: file and line.
        entry: what it says.
    """

    number: int
    where: str
    entry: Entry

    def expired(self, today: dt.date) -> bool:
        """Whether its day has come."""
        return today >= self.entry.expires

    @property
    def asks_guest(self) -> bool:
        """Whether a guest must have said what it is before this is known to fit."""
        guest = self.entry.guest
        return bool(guest.distribution or guest.kernel or guest.services)

    def is_of(self, subject: Subject) -> bool:
        """Whether it is about this test at all: check, part, parameters, pool and backend, whatever the versions."""
        entry = self.entry
        return (
            entry.check == subject.check
            and entry.part in (None, subject.part)
            and all(subject.params.get(name) == str(value) for name, value in entry.params.items())
            and (entry.host.pool is None or fnmatchcase(subject.pool, entry.host.pool))
            and entry.host.backend in (None, subject.backend)
        )

    def unlike(self, subject: Subject) -> str:
        """What the entry names and the test's circumstances are not, in words; empty where it fits them."""
        return next(self._differences(subject), "")

    def explains(self, message: str) -> bool:
        """Whether a failure that said this is the known one."""
        return self.entry.message is None or re.search(self.entry.message, message) is not None

    def _differences(self, subject: Subject) -> Iterator[str]:
        host, guest = self.entry.host, self.entry.guest
        if guest.image and not (
            fnmatchcase(subject.image, guest.image)
            or (len(guest.image) >= 8 and subject.digest.startswith(guest.image))
        ):
            yield _differ("image", subject.image, guest.image)
        for name, seen, pattern in (
            ("host", subject.host, host.name),
            ("product", subject.product, host.product),
            ("acceleration", subject.accelerated, host.accelerated),
            ("distribution", subject.distribution, guest.distribution),
        ):
            if pattern is not None and not fnmatchcase(seen.lower(), pattern.lower()):
                yield _differ(name, seen, pattern)
        if host.twin is not None and host.twin != subject.twin:
            yield "the host is a twin" if subject.twin else "the host is no twin"
        ranges = [
            ("version", subject.version, host.version, Version.parse),
            ("build", subject.build, host.build, Version.parse),
            ("kernel", subject.kernel, guest.kernel, Version.of_kernel),
        ]
        ranges += [
            (name, subject.services.get(name, ""), wanted, Version.parse) for name, wanted in guest.services.items()
        ]
        for name, seen, bounds, parse in ranges:
            if bounds is not None and not (seen and within(parse(seen), bounds)):
                yield _differ(name, seen, bounds)


@dataclass(frozen=True, slots=True)
class KnownIssues:
    """A file's entries.

    Args:
        file: where they stand; None: there is no such file.
        issues: in the file's order.
    """

    file: Path | None = None
    issues: tuple[KnownIssue, ...] = ()

    def of(self, subject: Subject) -> tuple[list[KnownIssue], dict[int, str]]:
        """The entries that fit a test, and of those that are about it but do not fit, by number, why."""
        fitting, others = [], {}
        for issue in self.issues:
            if issue.is_of(subject):
                why = issue.unlike(subject)
                if why:
                    others[issue.number] = why
                else:
                    fitting.append(issue)
        return fitting, others


def find_known_issues(chosen: Path | None, of_lab: Path | None) -> Path | None:
    """The file that holds: the one that was asked for, the lab's, the working directory's, the one that ships."""
    if chosen or of_lab:
        return chosen or of_lab
    places = (Path("configs") / NAME, paths.configs() / NAME)
    return next((place for place in places if place.is_file()), None)


def load_known_issues(path: Path | None) -> KnownIssues:
    """Read a file of known issues; an empty one knows none.

    Raises:
        UsageError: it cannot be read, or one line ``file:line:column dotted.path: problem`` for everything wrong in it.
    """
    tree = read_yaml(path) if path is not None else None
    if tree is None:
        return KnownIssues(path)
    said = validate(tree, KnownIssuesFile, str(path))
    issues = tuple(
        KnownIssue(number, f"{path}:{position(tree, ('known', number))[0]}", entry)
        for number, entry in enumerate(said.known)
    )
    return KnownIssues(path, issues)


def known_issues_schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **KnownIssuesFile.model_json_schema(),
        "title": "interop known issues",
    }


def _differ(name: str, seen: str, wanted: str) -> str:
    return f"{name} {seen} is not {wanted}" if seen else f"{name} is not known, and must be {wanted}"
