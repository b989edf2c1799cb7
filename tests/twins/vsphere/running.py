"""A twin as its users have it: a process of its own."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

_PATIENCE = 300  # the first start may have to build the simulator


class TwinProcess:
    """``python -m harness.twins.vsphere``, and what it said when it was up."""

    def __init__(self, folder: Path, **config: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "log"
        argv = [sys.executable, "-m", "harness.twins.vsphere"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"folder": str(folder), "accel": "tcg", **config}).encode() + b"\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], _PATIENCE)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.close()
            raise AssertionError(f"the twin did not come up: {self.log.read_text()[-2000:]}")
        self.record: dict[str, Any] = json.loads(line)

    def descendants(self) -> dict[int, str]:
        """Processes below the twin by their number, with their programs' names."""
        found: dict[int, str] = {}
        parents = {self.process.pid}
        known = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")
                known[int(entry.name)] = (int(fields[2].split()[1]), (entry / "comm").read_text().strip())
        while parents:
            found |= (new := {pid: name for pid, (parent, name) in known.items() if parent in parents})
            parents = set(new)
        return found

    def close(self) -> None:
        """End it as a run does: its standard input ends."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
