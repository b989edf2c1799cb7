"""The twin as a process: ``python -m harness.twins.hyperv``.

Reads one JSON object from the first line of its standard input (or of ``--config FILE``), prints one JSON line when it
is up, and stays until its standard input ends or a signal comes (``--stay``: a signal only). Nothing it started stays.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core import InteropError, UsageError
from harness.twins.hyperv.host import Host, HostSettings
from harness.twins.hyperv.plan import Planned
from harness.twins.hyperv.programs import Program, powershell
from harness.twins.hyperv.quotas import Quotas

_KEYS = {"folder", "name", "accounts", "quotas", "schemes", "unencrypted", "plan", "networks", "accel", "probe"}


def main() -> int:
    """Be a host until told otherwise."""
    parser = argparse.ArgumentParser(prog="python -m harness.twins.hyperv", description=__doc__)
    parser.add_argument("--config", type=Path, help="read the configuration from this file, not from standard input")
    parser.add_argument("--stay", action="store_true", help="stay when standard input ends")
    options = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        line = options.config.read_bytes() if options.config else sys.stdin.buffer.readline()
        config = json.loads(line)
        with Host(settings(config)) as host:
            sys.stdout.write(json.dumps(said(host)) + "\n")
            sys.stdout.flush()
            if not options.stay:
                threading.Thread(target=_until_eof, args=(over,), daemon=True).start()
            over.wait()
    except (InteropError, OSError, ValueError) as error:
        print(f"hyperv twin: {error}", file=sys.stderr)  # noqa: T201  what a process says when it cannot
        return 1
    return 0


def settings(config: Mapping[str, Any]) -> HostSettings:
    """What a configuration asks for.

    Raises:
        UsageError: a key that is not known, or none that says where.
    """
    if unknown := config.keys() - _KEYS:
        raise UsageError(f"a twin has no {', '.join(sorted(unknown))}", hint=f"it knows {', '.join(sorted(_KEYS))}")
    if "folder" not in config:
        raise UsageError("a twin needs a folder")
    programs: dict[str, Program] = {}
    if (engine := powershell()) is not None:
        programs["powershell"] = engine
    return HostSettings(
        folder=Path(config["folder"]),
        name=str(config.get("name", "TWIN")),
        accounts=dict(config.get("accounts", {})),
        programs=programs,
        quotas=Quotas(**config.get("quotas", {})),
        schemes=tuple(config.get("schemes", ("negotiate", "basic"))),
        unencrypted=bool(config.get("unencrypted", False)),
        plan=tuple(Planned.parse(entry) for entry in config.get("plan", ())),
    )


def said(host: Host) -> dict[str, Any]:
    """The line that tells how to reach a host."""
    user, password = next(iter(host.accounts.items()))
    return {
        "kind": "hyperv",
        "endpoint": host.https,
        "http": host.http,
        "ca": str(host.identity.authority),
        "fingerprint": host.identity.digest.hex(),
        "user": user,
        "password": password,
        "engine": "pwsh" if "powershell" in host.settings.programs else "emulated",
        "folder": str(host.settings.folder),
        "pid": os.getpid(),
    }


def _until_eof(over: threading.Event) -> None:
    while sys.stdin.buffer.readline():
        pass
    over.set()


if __name__ == "__main__":
    sys.exit(main())
