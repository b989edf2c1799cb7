"""An agent in a PowerShell of this machine, spoken to by pipes: what WS-Man is on a real host."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import agent
from harness.backends.hyperv.errors import Ended
from harness.backends.hyperv.session import Agent
from harness.core import Deadline

_VARIABLE = "INTEROP_HYPERV_MODULE"


def modules() -> dict[str, Path]:
    """Folders with the documented Hyper-V module, by Windows Server year; the key "all" is the one of all years."""
    place = os.environ.get(_VARIABLE)
    if shutil.which("pwsh") is None:
        pytest.skip("pwsh is not on PATH")
    if not place:
        pytest.skip(f"{_VARIABLE} does not name a folder with the documented Hyper-V module, or one for each year")
    root = Path(place)
    years = {year: root / year for year in ("2016", "2019", "2022", "2025") if (root / year / "Hyper-V").is_dir()}
    return years | ({"all": root} if (root / "Hyper-V").is_dir() else {})


@dataclass
class LocalPipe:
    """As :class:`harness.backends.hyperv.session.Pipe`."""

    module: Path
    greeting: bytes = field(default=agent.first_line(), init=False, repr=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self):
        self.process = subprocess.Popen(
            ["pwsh", *agent.inline()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "PSModulePath": str(self.module)},
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self.process.stdout, selectors.EVENT_READ)

    def write(self, data, deadline):
        try:
            while data:
                data = data[self.process.stdin.write(data) :]
        except OSError as error:
            raise Ended(f"the process is gone: {error}") from error

    def read(self, deadline):
        if not self._ready.select(min(deadline.seconds, 1)):
            return b""
        data = self.process.stdout.read(1 << 20)
        if data == b"":
            raise Ended("the process ended")
        return data or b""

    def reconnect(self, deadline):
        raise AssertionError("a pipe has no connection")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self._ready.close()


@pytest.fixture(scope="module")
def host():
    """An agent with the documented module of all years; a module of tests takes it by ``host = powershell.host``."""
    with closing(Agent(lambda deadline: LocalPipe(modules()["all"]), "win1")) as started:
        yield started


def soon(seconds=60):
    return Deadline.after(seconds)
