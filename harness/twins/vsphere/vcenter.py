"""The simulator as a process of ours: it ends with us, however we end, because its standard input does."""

from __future__ import annotations

import json
import selectors
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from harness.core import Deadline, LabError

_GRACE = 5.0


class VCenter:
    """A running simulator.

    Args:
        program: what :func:`harness.twins.vsphere.build.binary` made.
        settings: the line that ``main.go`` reads.
        deadline: when it must be up.

    Raises:
        LabError: it did not come up.
    """

    def __init__(self, program: Path, settings: Mapping[str, Any], deadline: Deadline) -> None:
        # Its temporary files lie in the twin's folder, and its words go where ours go.
        folder = str(settings["folder"])
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env={"TMPDIR": folder}
        )
        try:
            self.address = self._introduce(settings, deadline)
        except BaseException:
            self.close()
            raise

    def _introduce(self, settings: Mapping[str, Any], deadline: Deadline) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise LabError("the vCenter simulator ended at once; its log says why", operation="twin") from error
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(deadline.seconds):
                raise LabError("the vCenter simulator did not come up in time", operation="twin")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait(_GRACE)
            raise LabError(f"the vCenter simulator ended with {status}; its log says why", operation="twin")
        return str(json.loads(line)["address"])

    def wait(self) -> int:
        """Until it ends, by whatever cause."""
        return self._process.wait()

    def close(self) -> None:
        """End it. Idempotent."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
