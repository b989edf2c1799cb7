"""What the driver makes of integration services that do not do what they are asked."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.backends.hyperv import Settings
from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.errors import Failed, Failure, StepFailed
from harness.backends.hyperv.marks import Mark
from harness.backends.hyperv.services import Services
from harness.backends.model import MachineSpec, Ownership, PublishedImage, Shape
from harness.backends.protocol import GuestIgnored
from harness.core import Deadline
from tests.unit.fake_ledger import NoLedger

OWNER = Ownership("run-1a", "t0k3n", datetime(2030, 1, 1, tzinfo=UTC))


@dataclass
class Host:
    """A host where all goes well, but for one cmdlet."""

    fails: str

    def run(self, operation, steps, deadline, *, repeatable=False):
        for at, step in enumerate(steps):
            if step.call == self.fails:
                failure = Failure(at, "OperationFailed", "NotSpecified", 0, "it could not be done")
                raise Failed(failure.message, host="win1", operation=operation) from StepFailed(failure)
        return [[{"State": "Running"}]] * len(steps)


@pytest.mark.parametrize(
    ("cmdlet", "daemon"),
    [
        ("Copy-VMFile", True),
        ("Add-InteropChunk", False),
        ("Get-VMIntegrationService", False),
        ("Enable-VMIntegrationService", False),
        ("Remove-Item", False),
    ],
)
def test_a_daemon_is_blamed_for_what_was_asked_of_it_alone(tmp_path, cmdlet, daemon):
    """What the host itself could not do is the lab's fault, and no finding about the guest."""
    source = tmp_path / "file"
    source.write_bytes(b"x")
    host = HostAccess("win1", Settings(twin=True), Host(cmdlet), NoLedger(), OWNER, Path(), lambda _: True)
    spec = MachineSpec("g1", PublishedImage("ab" * 32, "base"), Shape(), (), None, OWNER)
    with pytest.raises(GuestIgnored if daemon else Failed, match="could not be done"):
        Services(host, "id", Mark(OWNER, spec, "g1", "pipe")).copy_file(source, "/tmp/file", Deadline.after(5))
