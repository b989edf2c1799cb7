"""Files that a reader finds whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: Path, data: bytes, *, lasting: bool = False) -> None:
    """Write a file so that no reader ever sees half of it.

    Args:
        path: the file; one that is there is replaced.
        data: its content.
        lasting: on return it is on the disk, whatever becomes of this machine.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # half a file would take the room that others need
        raise
