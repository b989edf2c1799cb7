"""A backend whose hosts have no guests: for inner runs of pytest, of tests that ask for a host alone."""

from __future__ import annotations

from harness.backends.registry import HostSettings
from harness.backends.views import HostFacts
from harness.core import GiB


class Settings(HostSettings):
    """Nothing to set."""


class TinyHost:
    """Answers what a session asks when it opens a host."""

    def facts(self, deadline):
        return HostFacts("tiny", "1", "1", "none", 2, GiB, 8)

    def capabilities(self, shape):
        return frozenset()

    def owned(self, deadline, run=None):
        return []

    def close(self):
        pass


def connect(settings, context):
    return TinyHost()
