"""The twin as a whole: certificates, engine, simulator, and what it says of itself when it is up."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from harness.core import Deadline, paths
from harness.twins.engine.api import Engine, Watcher
from harness.twins.engine.core import open_engine
from harness.twins.engine.personality import VMWARE
from harness.twins.engine.values import EngineSettings
from harness.twins.pki import issue
from harness.twins.vsphere import build
from harness.twins.vsphere.bodies import Bodies
from harness.twins.vsphere.config import TwinConfig
from harness.twins.vsphere.machines import Machines
from harness.twins.vsphere.reporter import Reporter
from harness.twins.vsphere.sockets import Server
from harness.twins.vsphere.vcenter import VCenter

_UP = timedelta(seconds=60)
_USER = "twin"  # the simulator takes no name with an @
_DATACENTER, _CLUSTER, _DATASTORE = "twin-datacenter", "twin-cluster", "twin-datastore"
_NO_VLAN = 0

OpenEngine = Callable[[EngineSettings, Watcher], Engine]


def _qemu(settings: EngineSettings, watcher: Watcher) -> Engine:
    return open_engine(settings, VMWARE, watcher)


class Twin:
    """A twin that is up.

    Args:
        config: what it shall be.
        engine: what runs machines; tests of the protocol bring one that only remembers.

    Raises:
        LabError: the simulator cannot be built or started, or QEMU is not there.
    """

    def __init__(self, config: TwinConfig, engine: OpenEngine = _qemu) -> None:
        self._ends = ExitStack()
        try:
            self.record = self._open(config, engine)
        except BaseException:
            self._ends.close()
            raise

    def _open(self, config: TwinConfig, engine: OpenEngine) -> dict[str, Any]:
        program = build.binary()
        folder = config.folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        datastore = folder / "datastore"
        control, asked = folder / "control.sock", folder / "engine.sock"
        papers = issue(folder, "vcenter.twin", kind=config.certificate)
        reporter = Reporter(control)
        settings = EngineSettings(
            folder=folder / "engine",
            networks={name: network.network() for name, network in config.networks.items()},
            accel=config.accel,
            probe=config.probe,
            probe_cache=paths.cache() / "accel.json",
        )
        settings.folder.mkdir(exist_ok=True)
        runs = engine(settings, reporter)
        self._ends.callback(runs.close)
        self._ends.callback(reporter.close)
        machines = Machines(runs, Bodies(datastore, folder / "bodies"), reporter)
        reporter.keeps_time, reporter.guestinfo = machines.keeps_time, machines.guestinfo
        self._ends.callback(machines.close)
        server = self._ends.enter_context(Server(asked, machines.answer))
        threading.Thread(target=server.serve_forever, name="engine socket", daemon=True).start()
        self._ends.callback(server.shutdown)
        password = secrets.token_urlsafe(18)
        said = {
            "listen": "127.0.0.1:0",
            "folder": str(folder),
            "engine": str(asked),
            "control": str(control),
            "certificate": str(papers.certificate),
            "key": str(papers.key),
            "user": _USER,
            "password": password,
            "datacenter": _DATACENTER,
            "cluster": _CLUSTER,
            "hosts": list(config.esxi),
            "datastore": _DATASTORE,
            "networks": {
                name: {"vlan": getattr(network, "vlan", None) or _NO_VLAN} for name, network in config.networks.items()
            },
            "cpus": config.cpus,
            "memory": config.memory,
            "max_vcpus": config.max_vcpus,
            "lease_seconds": config.lease_seconds,
            "latency": config.latency,
        }
        control.unlink(missing_ok=True)
        self._vcenter = self._ends.enter_context(VCenter(program, said, Deadline.after(_UP)))
        return {
            "kind": "vsphere",
            "endpoint": self._vcenter.address,
            "ca": str(papers.authority),
            "thumbprint": papers.thumbprint,
            "user": _USER,
            "password": password,
            "datacenter": _DATACENTER,
            "cluster": _CLUSTER,
            "esxi": list(config.esxi),
            "datastore": _DATASTORE,
            "networks": list(config.networks),
            "accel": runs.accel,
            "qemu": runs.version,
            "control": str(control),
            "pid": os.getpid(),
        }

    def wait(self) -> int:
        """Until the simulator ends by itself, which it should not."""
        return self._vcenter.wait()

    def close(self) -> None:
        """End everything: the simulator first, then every guest. Idempotent; the folder stays."""
        self._ends.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_config(path: Path | None, line: Callable[[], bytes]) -> TwinConfig:
    """The configuration, from a file or from standard input's first line.

    Raises:
        UsageError: it is not what it should be.
    """
    return TwinConfig.read(path.read_bytes() if path else line())
