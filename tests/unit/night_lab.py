"""A lab with a database, a night of it and a tiny suite, for tests of nights: nothing here ever reaches a host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from harness.cli import interop

SUITE = '''
import json, os, pathlib, time

import pytest

HERE = pathlib.Path(__file__).parent


def note(word, request):
    option = request.config.getoption
    said = {"word": word, "host": option("interop_host"), "image": option("--image"), "pid": os.getpid()}
    said["at"] = time.time()
    with (HERE / "ran.jsonl").open("a") as file:
        file.write(json.dumps(said) + "\\n")
    return f"{said['host']}-{said['image']}"


@pytest.fixture(autouse=True)
def noted(request):
    yield note("begin", request)
    note("end", request)


def test_first(noted):
    """Stands still where the test of the engine wants it to."""
    held = HERE / f"hold-{noted}"
    while held.exists():
        (HERE / f"held-{noted}").touch()
        time.sleep(0.05)


def test_second():
    pass
'''


@dataclass
class NightLab:
    """Files in a folder, and the commands on them."""

    folder: Path
    url: str
    hosts: tuple[str, ...] = ("h1", "h2", "h3")

    def __post_init__(self):
        hosts = "".join(
            f"  {host}: {{backend: kvm, uri: 'qemu+ssh://interop@{host}.example/system'}}\n" for host in self.hosts
        )
        self.lab = self.folder / "lab.yaml"
        self.lab.write_text(
            f"hosts:\n{hosts}networks:\n  management: {{kind: bridge, source: br0, subnet: 192.0.2.0/24}}\n"
            f"database: {self.url}\nlimits: {{heartbeat: 1s, silence: 4s}}\n"
        )
        (self.folder / "suite").mkdir()
        (self.folder / "suite" / "test_tiny.py").write_text(SUITE)
        self.results = self.folder / "results"

    def night(self, name="tiny", **keys) -> Path:
        """A night file; values as JSON, which is YAML."""
        said = {"lab": "lab.yaml", "results": str(self.results), "images": ["a", "b"], "budget": "1h"}
        said |= {"suites": [str(self.folder / "suite")], "options": ["-p", "no:cacheprovider", "-c", os.devnull]}
        path = self.folder / f"{name}.yaml"
        path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in (said | keys).items()))
        return path

    def environment(self, state: str) -> dict[str, str]:
        return {**os.environ, "INTEROP_STATE": str(self.folder / state), "COLUMNS": "200"}

    def interop(self, *words: str, state: str = "state", check: bool = True) -> str:
        """What the command prints; files are named as in the folder."""
        given = [str(self.folder / word) if (self.folder / word).is_file() else word for word in words]
        done = CliRunner().invoke(interop, given, env=self.environment(state))
        assert not check or done.exit_code == 0, done.output + str(done.exception)
        return done.stdout

    def process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As :meth:`interop`, in a process of its own: with all that a process says."""
        argv = [sys.executable, "-m", "harness.cli", *words]
        env = self.environment("state")
        return subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False)

    def worker(self, number: int, *words: str) -> subprocess.Popen:
        """A worker as a process, as on a controller of its own: with state of its own."""
        argv = [sys.executable, "-m", "harness.cli", "worker", "--lab", str(self.lab), *words]
        with (self.folder / f"worker{number}.log").open("ab") as log:
            return subprocess.Popen(
                argv, env=self.environment(f"state{number}"), cwd=self.folder, stdout=log, stderr=log
            )

    def ran(self) -> list[dict]:
        """What the suite noted, in order."""
        file = self.folder / "suite" / "ran.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def log(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("worker*.log")))
