"""A guest that was put down as a tree of files: its probes are run on this machine, below a root path of their own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness.backends.protocol import Machine
from harness.core import Size
from harness.guest import Guest, Identity, Login
from harness.guest.result import Result
from harness.image.model import Image
from tests.unit.fake_machine import NIC, FakeHost

HERE = Path(__file__).resolve().parent
MINUTE = timedelta(minutes=1)
# What a guest has of its own. A batch parts its files by /proc/$$/cmdline, and gives its commands /dev/null to read.
_OURS = re.compile(r"(?<![\w.])/(?=(?:sys|proc(?!/\$)|dev(?!/null)|var/lib|boot|etc|lib/modules)(?:/|\b))")
_KEY, _VALUE = 512, 2048  # a record of a pool (include/uapi/linux/hyperv.h)


# What every distribution has: these run as they are here.
_COMMON = ("sh", "cat", "grep", "readlink", "dd", "test", "true")


def record(key: str, value: str) -> bytes:
    """A pair as it lies in a pool."""
    return key.encode().ljust(_KEY, b"\0") + value.encode().ljust(_VALUE, b"\0")


class Tree:
    """The files of a guest, below a folder that stands for ``/``.

    Args:
        name: of the file beside this one that holds it all.
        root: the folder.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.root = root
        told: dict[str, Any] = YAML(typ="safe").load(HERE / f"{name}.yaml")
        for path, text in told["files"].items():
            self.write(path, f"{str(text).rstrip()}\n")
        for path, target in told.get("links", {}).items():
            self.link(path, target)
        self.commands: dict[str, str] = told.get("commands", {})
        for path, pairs in told.get("pools", {}).items():
            self.write(path, b"".join(record(key, value) for key, value in pairs.items()))
        self.path = self._install(told["tools"]) if "tools" in told else os.environ["PATH"]

    def _install(self, tools: Mapping[str, Mapping[str, Any]]) -> str:
        """Programs that say what was recorded of them, and no others beside the common ones: the PATH to them."""
        for name, calls in tools.items():
            answers = {line: f"printf %s {shlex.quote(said['says'])}" for line, said in calls.items()}
            ends = {line: f"exit {said.get('status', 0)} ;;" for line, said in calls.items()}
            cases = (f"{shlex.quote(self.inside(line))}) {answers[line]}; {ends[line]}" for line in calls)
            lost = f'*) echo "no call of {name} with $* was recorded" >&2; exit 99 ;;'
            self.write(f"/bin/{name}", "\n".join(["#!/bin/sh", 'case "$*" in', *cases, lost, "esac", ""]), mode=0o755)
        for name in _COMMON:
            found = shutil.which(name)
            assert found, f"{name} is not installed here"
            self.link(f"/bin/{name}", found)
        return str(self.root / "bin")

    def at(self, path: str) -> Path:
        """Where a path of the guest lies here."""
        return self.root / path.lstrip("/")

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Put a file there, in whoever's place."""
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        place.chmod(mode)

    def link(self, path: str, target: str) -> None:
        """Put a link there; what it points to need not be there."""
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(self.inside(target))

    def count(self, path: str, more: int) -> None:
        """Let a counter go on."""
        self.write(path, f"{int(self.at(path).read_text()) + more}\n")

    def inside(self, text: str) -> str:
        """A text with the guest's paths below the root."""
        return _OURS.sub(f"{self.root}/", text)

    def outside(self, data: bytes) -> bytes:
        """Back again."""
        return data.replace(os.fsencode(self.root), b"")


class RecordedGuest(Guest):
    """A guest whose commands read a tree.

    Args:
        tree: its files.
        machine: what its host says of it.
        goes_on: called before each command: what a guest does by itself meanwhile.
    """

    def __init__(self, tree: Tree, machine: Machine, goes_on: Callable[[Tree], None] = lambda tree: None) -> None:
        nobody = Login("root", Path("/nonexistent"), None)
        image = Image("recorded", "0" * 64, {}, Size(0))
        super().__init__(machine, FakeHost(), image, Identity("recorded", "0" * 32, (NIC,), nobody))
        self._tree, self._goes_on = tree, goes_on

    def run(
        self, argv: Sequence[str], *, timeout: timedelta = MINUTE, stdin: bytes = b"", check: bool = True
    ) -> Result:
        """Run it here, below the root."""
        self._goes_on(self._tree)
        if (told := self._tree.commands.get(f"{argv[0]} {argv[-1]}")) is not None:
            return Result(tuple(argv), 0, told.encode(), b"")
        done = subprocess.run(
            [self._tree.inside(word) for word in argv],
            input=self._tree.inside(stdin.decode()).encode(),
            capture_output=True,
            timeout=timeout.total_seconds(),
            check=False,
            env={"PATH": self._tree.path, "LC_ALL": "C.UTF-8"},
        )
        out, err = (self._tree.outside(data) for data in (done.stdout, done.stderr))
        result = Result(tuple(argv), done.returncode, out, err)
        return result.checked(self.name) if check else result
