"""Finding backends: ours and third parties' alike are entry points of the group ``interop.backends``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, cast

from harness.backends.model import Ownership
from harness.backends.protocol import Hypervisor, Ledger
from harness.core import UsageError
from harness.core.config import StrictModel, nearest
from harness.image.model import Image

GROUP = "interop.backends"
KNOWN = ("kvm", "hyperv", "vsphere")
"""The hypervisors this project is about, whether or not their backend is installed."""

LONGEST_NAME = 40
"""Letters of a lab's names, those of hosts included: they are part of machines' names, markers and reports."""


class HostSettings(StrictModel):
    """Base of the settings a backend reads from its host's section of a lab file.

    A backend that has a twin names it in :attr:`twin_module`, has a key ``twin: bool``, and answers :meth:`at_twin`.
    """

    takes_proxy: ClassVar[bool] = False
    """Whether the backend can reach its hosts through a proxy; where it cannot, a lab file may not ask for one."""
    macs: ClassVar[str | None] = None
    """The MAC addresses the product accepts for chosen ones, as ``first-last``; None: any locally administered one."""
    twin_module: ClassVar[str | None] = None
    """What ``python -m`` runs as a stand-in host of this backend; None: there is no twin."""

    @property
    def embedded(self) -> bool:
        """True where the hypervisor lives inside this process: its warm slots are cache that survives runs."""
        return False

    @property
    def local(self) -> bool:
        """True where guests run on this machine: such hosts share ``this-machine`` as capacity domain."""
        return self.embedded

    def expand(self, name: str) -> dict[str, Self]:
        """The lab's hosts that one section of a lab file stands for: several where an endpoint manages several hosts.

        Args:
            name: the section's name in the lab file.

        Returns:
            Settings by the host's name in the lab, of at most :data:`LONGEST_NAME` letters where that can be done.
        """
        return {name: self}

    def at_twin(self, record: Mapping[str, Any]) -> Self:
        """These settings, completed by where a running twin is reached and who may log in there.

        Args:
            record: what the twin said of itself when it came up.

        Raises:
            UsageError: this backend has no twin.
        """
        del record
        raise UsageError(f"the backend of {type(self).__module__} has no twin")


@dataclass(frozen=True, slots=True)
class Context:
    """What a backend gets besides its settings.

    Args:
        host: the lab's name of the host.
        owner: marks everything created on it.
        ledger: told of everything before it is created.
        scratch: a folder of this host and controller that survives runs; the backend may keep caches there.
        image: the run's image, if there is one yet: its kernel serves to probe acceleration.
        proxy: the lab's proxy for this host; without one, those of the environment must not be used.
        genuine: whether a mark is one that a run of the lab made; None: nobody can tell.
    """

    host: str
    owner: Ownership
    ledger: Ledger
    scratch: Path
    image: Image | None = None
    proxy: str | None = None
    genuine: Callable[[Ownership], bool] | None = None

    def ours(self, owner: Ownership) -> bool:
        """Whether what carries this mark is the lab's: where nobody can tell, only what our own run made."""
        if self.genuine is None:
            return (owner.run, owner.token) == (self.owner.run, self.owner.token)
        return self.genuine(owner)


class Backend(Protocol):
    """What an entry point of the group ``interop.backends`` loads: usually the backend's package itself."""

    Settings: type[HostSettings]

    def connect(self, settings: Any, context: Context) -> Hypervisor:
        """Open the host. Raises :class:`~harness.core.LabError` when it refuses or cannot be reached."""


def names() -> list[str]:
    """The installed backends, sorted."""
    return sorted({point.name for point in _announced(tuple(sys.path))})


def find(name: str) -> Backend:
    """The backend called ``name``.

    Raises:
        UsageError: none is installed under that name, or its own requirements are missing.
    """
    for point in _announced(tuple(sys.path)):
        if point.name == name:
            try:
                backend = point.load()
            except ImportError as error:
                raise UsageError(
                    f"the backend {name!r} cannot be loaded: {error}", hint=f"pip install 'interop-harness[{name}]'"
                ) from error
            if not (hasattr(backend, "Settings") and hasattr(backend, "connect")):
                raise UsageError(f"the backend {name!r} ({point.value}) lacks Settings or connect")
            return cast("Backend", backend)
    raise UsageError(f"no backend is called {name!r}{nearest(name, names())}")


@lru_cache(maxsize=4)
def _announced(path: tuple[str, ...]) -> EntryPoints:
    """The entry points of whatever is installed on ``path``: read once, for each host of a lab asks for its backend."""
    return entry_points(group=GROUP)
