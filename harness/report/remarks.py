"""What there is to say of a result besides who it is and how it ended: warnings, known issues, an attempt before."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from allure_commons.model2 import Label, Link, Status, StatusDetails, TestResult

from harness.report.visible import line, marked

WARNING = "beyond a limit"
"""The tag of results that exceeded a limit which only warns."""
KNOWN = "known issue"
"""The tag of results that failed as a known issue says; and how the name of the link to any issue's tracker begins."""
NEWS = "news"
"""The label of results about which a known issue has something to tell: it expired, say."""
NEWS_TAG = "news of a known issue"
"""The tag of them."""
FLAKY = "flaky"
"""The tag of results that passed only when they were tried again."""
AWAY = "host not available"
"""The tag of results of tests whose host was not available any more: nothing is known of the product."""
ATTEMPT = "attempt"
"""The label that says which try of its run a result is, from the second on: clocks may be set back in between."""
EARLIER = "earlier"
"""The label that says what the attempt before this one came to."""


@dataclass(frozen=True, slots=True)
class Remarks:
    """What else there is to say of a result than who it is and how it ended.

    Args:
        warnings: limits that were exceeded and only warn.
        known: it failed as a known issue says, so it is no failure of the run.
        trackers: where the issues that were looked at for it are followed: the link's name, and the address.
        news: what they have to tell, in one sentence: one expired, or the test passes again.
        earlier: what the attempt before this one came to (``lab``); empty: it was the first.
        tries: what each before it came to, and why.
        attempt: which try of its run it is.
        away: its host was not available any more.
    """

    warnings: tuple[str, ...] = ()
    known: bool = False
    trackers: tuple[tuple[str, str], ...] = ()
    news: str = ""
    earlier: str = ""
    tries: tuple[str, ...] = ()
    attempt: int = 1
    away: bool = False


def remark(result: TestResult, remarks: Remarks) -> None:
    """Tags, labels and links of what there is to say; a known failure keeps its status, message and evidence."""
    result.labels += [Label(name="tag", value=WARNING)] if remarks.warnings else []
    result.labels += [Label(name=EARLIER, value=remarks.earlier)] if remarks.earlier else []
    result.labels += [Label(name=ATTEMPT, value=str(remarks.attempt))] if remarks.attempt > 1 else []
    result.labels += [Label(name="tag", value=AWAY)] if remarks.away else []
    if remarks.earlier and result.status == Status.PASSED:
        result.labels.append(Label(name="tag", value=FLAKY))
        result.statusDetails = result.statusDetails or StatusDetails()
        result.statusDetails.flaky = True  # Allure's own word for it
    result.links += [Link(type="issue", url=url, name=name) for name, url in remarks.trackers]
    if remarks.news:
        result.labels += [Label(name=NEWS, value=remarks.news), Label(name="tag", value=NEWS_TAG)]
    if remarks.known:
        result.labels.append(Label(name="tag", value=KNOWN))
        result.statusDetails = result.statusDetails or StatusDetails()
        result.statusDetails.known = True  # what Allure 3 takes for an accepted failure


def described(title: str, description: str | None, remarks: Remarks) -> str | None:
    """What there is to say of a result besides its title: warnings, news, and the rest of the test's docstring."""
    # Allure takes it for Markdown, and its HTML for HTML; what tries came to may quote a guest.
    parts = [f"**Warning**: {marked(warning)}" for warning in remarks.warnings]
    parts += [f"**Tried before**: {marked(line(one))}" for one in remarks.tries]
    parts += [f"**Known issue**: {marked(line(remarks.news))}"] if remarks.news else []
    beyond = _beyond(title, description)
    return "\n\n".join([*parts, *([beyond] if beyond else [])]) or None


def _beyond(title: str, description: str | None) -> str | None:
    """What a test's docstring says beyond its first line, which is the title already."""
    words = inspect.cleandoc(description or "")
    return words.removeprefix(title).lstrip(". \n") or None
