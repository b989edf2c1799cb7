"""Twins as processes: how one is asked for, started, and ended.

A twin is a program of its own (``python -m harness.twins.KIND``). It gets one line of JSON on its standard input and
answers by one on its standard output when it is up. That of a run notices the end of its standard input, so that it
ends with the run however the run ends; one that outlives runs is ended by a signal.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.backends.model import NetworkKind
from harness.core import Deadline, LabError, Pending, UsageError, paths, wait_for
from harness.core.config import nearest
from harness.core.secrets import tell as confide
from harness.lab import sizing, twins
from harness.lab.liveness import Liveness
from harness.lab.models import Host, Lab, Network
from harness.lab.store import Store
from harness.lab.twins import NoTwin, Twin, born

_PATIENCE = timedelta(minutes=15)  # the first start may have to build what the twin is made of
_LAST_WORDS = 5  # lines of its log in an error
_GRACE = 20.0  # seconds to end by itself: its guests are cut off, not shut down

Probe = tuple[Path, Path]
"""A kernel and its initramfs, to prove acceleration with."""


def say_nothing(_: str) -> None:
    """For callers who watch nothing."""


def hosts_of(lab: Lab, section: str) -> list[Host]:
    """The hosts of the lab that the twin of ``section`` stands in for.

    Raises:
        UsageError: the lab has no twin of that name.
    """
    hosts = [host for host in lab.hosts.values() if host.twin == section]
    if not hosts:
        sections = sorted({host.twin for host in lab.hosts.values() if host.twin})
        raise UsageError(
            f"the lab {lab.name!r} has no twin called {section!r}{nearest(section, sections)}",
            hint=None if sections else "a host has a twin where its section of the lab file says `twin: true`",
        )
    return hosts


def asked(lab: Lab, section: str) -> dict[str, Any]:
    """What the twin of ``section`` is asked to be: its networks, its size, and the hosts it manages.

    Raises:
        UsageError: the lab has no twin of that name.
    """
    hosts = hosts_of(lab, section)
    names = dict.fromkeys(name for host in hosts for name in (host.management, host.peers) if name)
    # Whatever else the lab has of that kind may be asked for by name: port groups of a VLAN, of jumbo frames.
    names |= {name: None for name, network in lab.networks.items() if network.kind is NetworkKind.NETWORK}
    networks = {name: lab.networks[name] for name in names}
    vcpus, memory, _ = hosts[0].limits
    esxi = [name for host in hosts for name in _words(getattr(host.settings, "esxi", None))]
    return {
        "networks": {network.source or name: _network(name, network) for name, network in networks.items()},
        "esxi": list(dict.fromkeys(esxi)) or ["esx1"],
        "accel": getattr(hosts[0].settings, "accel", "auto"),
        "cpus": vcpus or sizing.lendable_vcpus(),
        "memory": int(memory or sizing.lendable_memory()),
    }


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _network(name: str, network: Network) -> dict[str, Any]:
    if network.nat is not None:
        return {
            "kind": "nat",
            "subnet": str(network.network),
            "outside": str(network.nat),
            "port": network.ssh_port,
        }
    if network.kind is NetworkKind.USER:
        raise UsageError(
            f"the network {name!r} is a user network, and a twin's guests cannot be reached in one",
            hint="give it kind: network, a source, a subnet, and nat: 127.78.0.0/16",
        )
    return {"kind": "switch", "vlan": network.vlan, "mtu": network.mtu}


def start(
    lab: Lab,
    section: str,
    *,
    run: str | None = None,
    stay: bool = False,
    probe: Probe | None = None,
    tell: Callable[[str], object] = say_nothing,
    patience: timedelta = _PATIENCE,
) -> tuple[Twin, subprocess.Popen[bytes]]:
    """Start the twin of a section of the lab, and wait until it is up.

    Args:
        lab: the lab.
        section: which of its sections.
        run: the run it belongs to; None: it outlives runs.
        stay: it does not end with its standard input, but by a signal alone.
        probe: a kernel to prove acceleration with; without one guests are emulated.
        tell: told, in a line each, what takes long.
        patience: how long it may take to come up.

    Returns:
        The twin and its process.

    Raises:
        UsageError: the lab has no such twin.
        NoTwin: what it is made of is not here.
        LabError: it did not come up, or somebody else starts it just now; with the end of its log.
    """
    config = asked(lab, section)
    module = hosts_of(lab, section)[0].settings.twin_module
    folder = paths.cache() / "twins" / f"{section[:20]}-{secrets.token_hex(4)}"
    me = os.getpid()
    twin = Twin(str(lab.path), section, run, me, born(me) or 0, str(folder), config)
    while not twin.save(first=True):
        other = next((each for each in twins.known() if each.file == twin.file), None)
        if other is not None and other.alive:
            state = "is up already" if other.said else f"is being started by process {other.pid}"
            raise LabError(f"a twin of this name {state}", host=section, operation="twin")
        _forget(other or twin)
    tell(f"starting the twin of {section}")
    try:
        folder.mkdir(parents=True, mode=0o700)
        line = json.dumps({**config, "folder": str(folder), "probe": probe and [str(part) for part in probe]})
        argv = [sys.executable, "-P", "-m", str(module), *(["--stay"] if stay else [])]
        with twin.log.open("xb") as log, (folder / "answer").open("xb") as answer:
            # A session of its own: ^C is for the run, which gives its guests back before the twin goes.
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=answer, stderr=log, start_new_session=True)
        try:
            said = _come_up(process, line, twin, Deadline.after(patience), tell)
            if "password" in said:
                confide(str(said["password"]))
            twin = replace(twin, pid=process.pid, born=born(process.pid) or 0, said=said)
            twin.save()
        except BaseException:
            _end(process.pid, process)
            raise
    except BaseException:
        _forget(twin)
        raise
    tell(f"the twin of {section} is up at {said.get('endpoint', 'an address of its own')}")
    return twin, process


def _come_up(
    process: subprocess.Popen[bytes], line: str, twin: Twin, deadline: Deadline, tell: Callable[[str], object]
) -> dict[str, Any]:
    folder, told = Path(twin.folder), 0
    with contextlib.suppress(BrokenPipeError):  # it ended already: its log says why
        assert process.stdin is not None
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()

    def up() -> bytes | Pending:
        nonlocal told
        first, end, _ = (folder / "answer").read_bytes().partition(b"\n")
        if end:
            return first
        status = process.poll()
        words = twin.log.read_text(encoding="utf-8", errors="replace").splitlines()
        if status is not None:
            last = "\n".join(words[-_LAST_WORDS:]) or "and said nothing"
            if status == os.EX_UNAVAILABLE:
                raise NoTwin(last, host=twin.section, operation="twin")
            raise LabError(
                f"the twin ended with {status} before it was up: {last}", host=twin.section, operation="twin"
            )
        for word in words[told:]:
            tell(f"{twin.section}: {word}")
        told = len(words)
        return Pending(words[-1] if words else "nothing")

    answer = wait_for("a twin to come up", up, deadline, every=0.05)
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise LabError(f"the twin answered {answer[:200]!r}, no JSON object", host=twin.section, operation="twin")
    return said


def let_go(process: subprocess.Popen[bytes]) -> None:
    """A process that was started with ``stay`` is nobody's from now on."""
    if process.stdin is not None:
        process.stdin.close()
    process.returncode = 0  # or Python complains that nobody waited for it


def stop(twin: Twin, process: subprocess.Popen[bytes] | None = None) -> None:
    """End a twin, its guests and all that is on it. Idempotent.

    Args:
        twin: which one.
        process: its process, where the caller started it.

    Raises:
        LabError: it is somebody else's, or outlives SIGKILL.
    """
    if process is not None or twin.alive:
        _end(twin.pid, process)
    _forget(twin)


def _end(pid: int, process: subprocess.Popen[bytes] | None) -> None:
    """Ask by the end of its input, then by SIGTERM, then not at all."""
    if process is not None and process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], _GRACE)[0]:
                return
        raise LabError(f"process {pid}, a twin, does not end", operation="twin")
    except PermissionError as error:
        raise LabError(f"process {pid}, a twin, belongs to another account", operation="twin") from error
    finally:
        os.close(handle)
        if process is not None:
            process.poll()


def _forget(twin: Twin) -> None:
    twin.file.unlink(missing_ok=True)
    shutil.rmtree(twin.folder, ignore_errors=True)


def sweep(store: Store, liveness: Liveness) -> list[Twin]:
    """Forget twins that are gone, and end those of runs that are dead; returns what was swept away.

    Raises:
        LabError: one does not end.
    """
    swept = []
    for twin in twins.known():
        if not twin.alive or (twin.run is not None and not liveness.run(store, twin.run)):
            stop(twin)
            swept.append(twin)
    return swept
