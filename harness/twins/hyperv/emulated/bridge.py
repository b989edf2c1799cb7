"""The Unix socket by which the twin's PowerShell modules ask the table of cmdlets."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

from harness.twins.hyperv.emulated import table
from harness.twins.hyperv.emulated.invoker import Agent
from harness.twins.hyperv.emulated.objects import Thing, decode, encode
from harness.twins.hyperv.emulated.refusals import GENERAL, Refusal
from harness.twins.hyperv.emulated.world import World

_log = logging.getLogger(__name__)


def perform(world: World, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the table answers to a bound call, as JSON."""
    if "property" in request:
        key, name = request["property"]
        try:
            return {"objects": [encode(_thing(world, key).get(name))]}
        except (Refusal, KeyError):
            return {"objects": [None]}
    name = str(request["call"])
    arguments = {key: decode(value) for key, value in request.get("args", {}).items()}
    try:
        return {"objects": [encode(each) for each in table.run(world, name, arguments, str(request.get("user", "")))]}
    except Refusal as refusal:
        return {
            "error": {
                "id": refusal.qualified(name),
                "category": refusal.category,
                "hresult": refusal.hresult,
                "message": refusal.message,
            }
        }


def _fault(error: Exception) -> dict[str, Any]:
    return {
        "id": "TwinFault",
        "category": "NotSpecified",
        "hresult": GENERAL,
        "message": f"the twin failed: {error!r}; its log has more",
    }


def _thing(world: World, key: str) -> Thing:
    """An object that has lazy properties, anew."""
    vm = world.vm(key)
    _, _, kind, name = (*key.split("/"), "", "")[:4]
    if kind == "nic":
        return vm.nic_thing(world.nic(key)[1])
    if kind == "service":
        return vm.service_thing(name)
    return vm.thing()


class Bridge:
    """The socket, open until it is closed.

    Args:
        path: where it is; the modules are told by the environment.
        world: the host that is spoken of.
    """

    def __init__(self, path: Path, world: World) -> None:
        path.unlink(missing_ok=True)
        self.path = path

        class Answer(StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    if line.startswith((b"agent ", b"installed ")):
                        word, _, user = line.decode().strip().partition(" ")
                        self._be_agent(user, installed=word == "installed")
                        return
                    try:
                        answer = perform(world, json.loads(line))
                    except Exception as error:  # noqa: BLE001  a bug of ours: told as one, and the next call is served
                        _log.exception("%s", line)
                        answer = {"error": _fault(error)}
                    self.wfile.write(json.dumps(answer).encode() + b"\n")

            def _say(self, line: bytes) -> None:
                self.wfile.write(line)

            def _be_agent(self, user: str, *, installed: bool) -> None:
                invoker = Agent(world, self._say, user, installed=installed)
                try:
                    for line in self.rfile:
                        if not invoker.hear(line):
                            self.wfile.write(b"!The agent is not the one that this twin knows.\r\n")
                            return
                finally:
                    invoker.close()

        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self._server = ThreadingUnixStreamServer(f"/proc/self/fd/{folder}/{path.name}", Answer)
        finally:
            os.close(folder)
        self._server.daemon_threads = True
        path.chmod(0o600)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="bridge", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more calls."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.path.unlink(missing_ok=True)
