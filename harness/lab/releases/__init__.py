"""Releases of integration services: what a lab owner wants to know about before it ships, and what it is held against.

A release file (``configs/releases/``) names two sides, a baseline and a candidate. Here they are read, fetched with
their hashes checked, installed in guests over ssh, and removed again; never by the services under test.
"""

from harness.lab.releases.installing import Installed, InstallFailed, Unchanged, install, remove, unchanged
from harness.lab.releases.load import Release, Which, find_release, release_schema, releases
from harness.lab.releases.models import Side
from harness.lab.releases.preparing import Payload, Prepared, prepare
from harness.lab.releases.seen import Seen
from harness.lab.releases.traces import Traces, left_behind

__all__ = [
    "InstallFailed",
    "Installed",
    "Payload",
    "Prepared",
    "Release",
    "Seen",
    "Side",
    "Traces",
    "Unchanged",
    "Which",
    "find_release",
    "install",
    "left_behind",
    "prepare",
    "release_schema",
    "releases",
    "remove",
    "unchanged",
]
