"""Finding backends: ours and third parties' alike are entry points of the group ``interop.backends``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from harness.backends.model import Ownership
from harness.backends.protocol import Hypervisor, Ledger
from harness.core import UsageError
from harness.core.config import StrictModel, nearest
from harness.image.model import Image

GROUP = "interop.backends"
KNOWN = ("kvm", "hyperv", "vsphere")
"""The hypervisors this project is about, whether or not their backend is installed."""


class HostSettings(StrictModel):
    """Base of the settings a backend reads from its host's section of a lab file."""

    takes_proxy: ClassVar[bool] = False
    """Whether the backend can reach its hosts through a proxy; where it cannot, a lab file may not ask for one."""

    @property
    def embedded(self) -> bool:
        """True where the hypervisor lives inside this process: its warm slots are cache that survives runs."""
        return False

    @property
    def local(self) -> bool:
        """True where guests run on this machine: such hosts share ``this-machine`` as capacity domain."""
        return self.embedded


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
    """

    host: str
    owner: Ownership
    ledger: Ledger
    scratch: Path
    image: Image | None = None
    proxy: str | None = None


class Backend(Protocol):
    """What an entry point of the group ``interop.backends`` loads: usually the backend's package itself."""

    Settings: type[HostSettings]

    def connect(self, settings: Any, context: Context) -> Hypervisor:
        """Open the host. Raises :class:`~harness.core.LabError` when it refuses or cannot be reached."""


def names() -> list[str]:
    """The installed backends, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find(name: str) -> Backend:
    """The backend called ``name``.

    Raises:
        UsageError: none is installed under that name, or its own requirements are missing.
    """
    for point in entry_points(group=GROUP):
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
