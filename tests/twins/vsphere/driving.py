"""Our driver as tests open it: against the twin as it is run, with an owner and no journal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness.backends.model import Ownership
from harness.backends.registry import Context
from harness.backends.vsphere import Settings, connect
from harness.core import Deadline, MiB, Size
from harness.image.model import Format, Image
from tests.unit.fake_ledger import NoLedger

OWNER = Ownership("run1", "token1", datetime.now(UTC) + timedelta(hours=1))


def within(seconds: float = 60) -> Deadline:
    """A deadline no test is meant to reach."""
    return Deadline.after(seconds)


def opened(record: Mapping[str, Any], folder: Path, **settings: Any) -> Any:
    """The driver, logged in.

    Args:
        record: what the twin said when it came up.
        folder: for what the driver keeps on this machine.
        settings: what a lab file would say besides.
    """
    return connect(Settings(twin=True, **settings).at_twin(record), Context("vc", OWNER, NoLedger(), folder))


def small(file: Path, word: str) -> Image:
    """An image of that disk under a digest of its own."""
    return Image(word, hashlib.sha256(word.encode()).hexdigest(), {Format.VMDK: file}, Size(8 * MiB))
