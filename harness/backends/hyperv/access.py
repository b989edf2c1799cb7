"""What every concern of a host gets: how to ask it, and where on it things go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.backends.hyperv import errors
from harness.backends.hyperv.session import Agents
from harness.backends.hyperv.settings import Settings
from harness.backends.hyperv.steps import Row, Step, Value, exactly
from harness.backends.model import Ownership
from harness.backends.protocol import Ledger
from harness.core import Deadline

NO_FILE = ("PathNotFound", "ItemNotFoundException", "DirectoryNotFoundException")
QUIET = {"Confirm": False}
"""For cmdlets that would ask: nobody is there to answer."""


@dataclass(frozen=True, slots=True)
class HostAccess:
    """A Windows host, open.

    Args:
        name: the lab's name of it.
        settings: its section of the lab file.
        agents: those who call cmdlets there.
        ledger: told of everything before it is made.
        owner: marks what is made.
        scratch: a folder of this controller.
        ours: whether a mark was made by a run of this lab.
    """

    name: str
    settings: Settings
    agents: Agents
    ledger: Ledger
    owner: Ownership
    scratch: Path
    ours: Callable[[Ownership], bool]

    @property
    def twin(self) -> bool:
        """Whether a twin stands in for it."""
        return self.settings.twin

    @property
    def everywhere(self) -> dict[str, Value]:
        """For ``Get-VM``: on this host; on all nodes of its cluster where the lab names them.

        A node that does not answer is an error then: what may run there is not missing.
        """
        return {"ComputerName": ["localhost", *self.settings.nodes]} if self.settings.nodes else {}

    def found(self, identity: str, *, name: str | None = None, get: tuple[str, ...] = ()) -> Step:
        """The machine of an id, on whichever node it is; nothing where there is none."""
        if not self.settings.nodes:
            return Step("Get-VM", {"Id": identity}, name=name, get=get, allow=errors.NOT_FOUND)
        # By -Id each node that has it not would be an error, and the first of them the end.
        return Step("Get-VM", self.everywhere, name=name, get=get, where=(("Id", exactly(identity)),))

    def run(
        self, operation: str, steps: Sequence[Step], deadline: Deadline, *, repeatable: bool = False
    ) -> list[list[Row]]:
        """As :meth:`Agents.run`, for steps about a machine: one that is not on this host may be on another node."""
        try:
            return self.agents.run(operation, steps, deadline, repeatable=repeatable)
        except errors.Gone as error:
            if self.settings.nodes and error.hint == errors.REMOVED:
                nodes = ", ".join(self.settings.nodes)
                error.hint = (
                    f"{error.hint}; or it was moved to another node: `Get-VM -ComputerName {nodes}` shows it there. "
                    "Move it back, or leave it to `interop reap`, which removes it once its run is over"
                )
            raise

    def image(self, digest: str) -> str:
        """Where the base disk of an image is."""
        return str(self.settings.path("images", f"{digest}.vhdx"))

    def folder(self, name: str) -> str:
        """Where a machine's disks, seed and console are."""
        return str(self.settings.path("machines", name))

    def file(self, folder: str, name: str) -> str:
        """A file in a machine's folder."""
        return str(self.settings.path("machines", folder, name))
