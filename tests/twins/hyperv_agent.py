"""A twin with machines that only change their state, and an agent on it: reached by real pywinrm."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import agent
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.twin import Twin
from tests.twins.hyperv_host import PASSWORD, USER, winrm

MODES = [
    pytest.param("pwsh", marks=pytest.mark.skipif(shutil.which("pwsh") is None, reason="pwsh is not on PATH")),
    "emulated",
]
"""With the real PowerShell engine behind the wire, and without."""


class Refused(Exception):
    """What the agent says of a step that failed."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(said["message"])
        self.step: int = said["step"]
        self.id: str = said["id"]
        self.category: str = said["category"]
        self.results: list[Any] = said["results"]


class Talk:
    """A conversation with an agent."""

    def __init__(self, twin: Twin, user: str = USER, password: str = PASSWORD) -> None:
        self.twin = twin
        patience = {"operation_timeout_sec": 20, "read_timeout_sec": 60}
        self.client = winrm(twin.host, "ntlm", username=user, password=password, **patience)
        self.shell = self.client.open_shell(codepage=65001, noprofile=True)
        self.command = self.client.run_command(
            self.shell, agent.PROGRAM, agent.inline(), console_mode_stdin=False, skip_cmd_shell=True
        )
        self._buffer = b""
        self._number = 0
        self.client.send_command_input(self.shell, self.command, agent.first_line())
        self.ready = self.answer(0)

    def answer(self, number: int) -> dict[str, Any]:
        """The answer of this number."""
        mark = f"{agent.MARK} {number} ".encode()
        while True:
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                if line.startswith(mark):
                    assert line.endswith(b"\r")
                    said: dict[str, Any] = json.loads(line[len(mark) :])
                    return said
            out, err, code, done = self.client.get_command_output_raw(self.shell, self.command)
            assert not done, (out, err, code)
            self._buffer += out

    def send(self, *steps: dict[str, Any]) -> int:
        """Ask, and do not wait."""
        self._number += 1
        line = json.dumps({"id": self._number, "steps": steps}).encode() + b"\n"
        self.client.send_command_input(self.shell, self.command, line)
        return self._number

    def ask(self, *steps: dict[str, Any]) -> list[list[dict[str, Any]]]:
        """Ask, and return what each step returned."""
        said = self.answer(self.send(*steps))
        if not said["ok"]:
            raise Refused(said)
        results: list[list[dict[str, Any]]] = said["results"]
        return results

    def one(self, call: str, *get: str, **arguments: Any) -> list[dict[str, Any]]:
        """Ask one step; texts are texts."""
        return self.ask(step(call, *get, **arguments))[0]

    def close(self) -> None:
        """End the shell."""
        self.client.close_shell(self.shell)


def step(call: str, *get: str, into: str | None = None, **arguments: Any) -> dict[str, Any]:
    """A step. ``VM=ref("vm")`` refers to what was called so by ``into``."""
    said: dict[str, Any] = {"call": call, "args": {name: _value(value) for name, value in arguments.items()}}
    if get:
        said["get"] = list(get)
    if into:
        said["as"] = into
    return said


def ref(name: str) -> dict[str, str]:
    """What an earlier step returned."""
    return {"$ref": name}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return f"={value}"
    if isinstance(value, Path):
        return f"={value}"
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, dict) and not any(key.startswith("$") for key in value):
        return {"$map": [[f"={key}", _value(each)] for key, each in value.items()]}
    return value


@contextlib.contextmanager
def talking(folder: Path, mode: str, **config: Any) -> Iterator[Talk]:
    """An agent on a twin of its own."""
    config = {"accounts": {USER: PASSWORD}, "networks": NETWORKS, **config}
    with Twin(TwinConfig(folder=folder, guests=False, powershell=mode, cpus=4, **config)) as twin:
        talk = Talk(twin)
        yield talk
        talk.close()


NETWORKS: Any = {
    "lan": {"kind": "switch"},
    "outer": {"kind": "nat", "subnet": "10.78.0.0/16", "outside": "127.78.0.0/16"},
}
