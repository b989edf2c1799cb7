"""What one pytest process was given: options, the lab and what belongs to it, and the secrets that nobody may see."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from harness.core import InteropError
from harness.plugin import options

if TYPE_CHECKING:  # a stranger's tests in the same run must not pay for these imports
    from harness.lab import Lab
    from harness.lab.calibration import Calibration
    from harness.lab.known_issues import KnownIssues
    from harness.lab.releases import Release, Which
    from harness.report.redact import Redactor


@dataclass(slots=True)
class Given:
    """Read on first use, and once."""

    config: pytest.Config
    _options: options.Options | None = field(default=None, init=False)
    _lab: Lab | None = field(default=None, init=False)
    _redactor: Redactor | None = field(default=None, init=False)
    _calibration: Calibration | None = field(default=None, init=False)
    _known_issues: KnownIssues | None = field(default=None, init=False)
    _release: tuple[Release, Which] | None = field(default=None, init=False)

    @property
    def options(self) -> options.Options:
        """The command line, typed."""
        if self._options is None:
            self._options = or_usage_error(options.read, self.config)
        return self._options

    @property
    def lab(self) -> Lab:
        """The lab, loaded on first use.

        Raises:
            pytest.UsageError: the lab file is wrong; every problem on a line of its own.
        """
        if self._lab is None:
            from harness.lab import load_lab  # noqa: PLC0415  see TYPE_CHECKING above

            lab = or_usage_error(load_lab, self.options.lab)
            if self._redactor is None:
                self._redactor = self._hear(lab)
            self._calibration = or_usage_error(self._own_limits, lab)
            self._known_issues = or_usage_error(self._known, lab)
            if self.options.release is not None:
                from harness.lab.releases import Release  # noqa: PLC0415

                self._release = or_usage_error(Release.asked, self.options.release)
            self._lab = lab  # last: who asks again is told again what is wrong
        return self._lab

    @property
    def release(self) -> tuple[Release, Which] | None:
        """The release of the run and its side, read with the lab; None where guests are as their image."""
        _ = self.lab
        return self._release

    @property
    def calibration(self) -> Calibration | None:
        """The lab's own limits and sizes, read with the lab; None where it has none."""
        _ = self.lab
        return self._calibration

    @property
    def known_issues(self) -> KnownIssues:
        """The known issues, read with the lab."""
        _ = self.lab
        assert self._known_issues is not None
        return self._known_issues

    def _known(self, lab: Lab) -> KnownIssues:
        from harness.lab.known_issues import find_known_issues, load_known_issues  # noqa: PLC0415

        return load_known_issues(find_known_issues(self.options.known_issues, lab.known_issues))

    def _own_limits(self, lab: Lab) -> Calibration | None:
        """The lab's own limits: those that the user names, else those that the lab's file names."""
        path = self.options.calibration or lab.calibration
        if path is None:
            return None
        from harness.lab.calibration import load_calibration  # noqa: PLC0415

        return load_calibration(path, lab)

    def safe(self, text: str) -> str:
        """What a terminal or a file may hold of a text: no secret, nothing that a terminal obeys, and bounded."""
        from harness.report.redact import Redactor  # noqa: PLC0415  see TYPE_CHECKING above

        return (self._redactor or Redactor()).safe(text)

    def unsaid(self, text: str) -> str:
        """A text without the secrets that this process knows of; as it is where no lab was read."""
        return self._redactor.text(text) if self._redactor is not None else text

    def learn(self) -> None:
        """Know a named lab's secrets though no test asks for a host yet: modules and strangers' tests fail as well."""
        if self._lab is None and self.config.getoption("--lab") != options.DEFAULT_LAB:
            with contextlib.suppress(pytest.UsageError):  # who asks for a host is told
                _ = self.lab

    @property
    def redactor(self) -> Redactor:
        """Masks the secrets that the lab names, and whatever else this process fetches of them; there with the lab."""
        _ = self.lab
        assert self._redactor is not None
        return self._redactor

    def _hear(self, lab: Lab) -> Redactor:
        """A test may show them before any host was opened: the environment is everybody's."""
        from harness.core.secrets import heard_by  # noqa: PLC0415  see TYPE_CHECKING above
        from harness.lab import confidential  # noqa: PLC0415
        from harness.report.redact import Redactor  # noqa: PLC0415

        redactor, hearing = Redactor(), contextlib.ExitStack()
        hearing.enter_context(heard_by(redactor.register))
        self.config.add_cleanup(hearing.close)
        confidential.fetch(lab, asking=False)
        return redactor


def or_usage_error(function: Any, *arguments: Any) -> Any:
    """Call; bad input becomes pytest's error for it, which prints one message without a traceback."""
    try:
        return function(*arguments)
    except InteropError as error:
        raise pytest.UsageError(str(error)) from error
