"""Opening a host of a lab through its backend."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.backends import registry
from harness.backends.protocol import Hypervisor
from harness.backends.registry import Context
from harness.core import InteropError, paths
from harness.image.model import Image
from harness.lab import twins
from harness.lab.models import Host
from harness.lab.run import Run


def connect(host: Host, run: Run, image: Image | None = None) -> Hypervisor:
    """Open ``host``; everything created on it is journalled and marked as ``run``'s.

    A host that is a twin must be up: :class:`~harness.lab.attend.Attendant` sees to that.

    Args:
        host: a host of the run's lab.
        run: who owns what is created.
        image: the run's image, if it is known: its kernel serves to probe acceleration.

    Raises:
        LabError: the host refuses or cannot be reached; names it.
    """
    context = Context(host.name, run.owner, run.ledger(host), scratch(host), image, host.proxy, run.genuine)
    try:
        return registry.find(host.backend).connect(twins.settings_of(host, run.lab.path, run.id), context)
    except InteropError as error:
        error.host = error.host or host.name
        raise


def scratch(host: Host) -> Path:
    """The folder of this host in this controller's cache; another one when its settings change."""
    digest = hashlib.sha256(host.settings.model_dump_json().encode()).hexdigest()[:8]
    path = paths.cache() / "hosts" / f"{host.name}-{digest}"
    path.mkdir(parents=True, exist_ok=True)
    return path
