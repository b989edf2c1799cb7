"""The twin as a process: ``python -m harness.twins.hyperv``.

Reads one JSON object from the first line of its standard input (or of ``--config FILE``), prints one JSON line when it
is up, and stays until its standard input ends or a signal comes (``--stay``: a signal only). Nothing it started stays.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from harness.core import InteropError
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.twin import Twin


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
        with Twin(TwinConfig.read(line)) as twin:
            sys.stdout.write(json.dumps(twin.said()) + "\n")
            sys.stdout.flush()
            if not options.stay:
                threading.Thread(target=_until_eof, args=(over,), daemon=True).start()
            over.wait()
    except (InteropError, OSError, ValueError) as error:
        print(f"hyperv twin: {error}", file=sys.stderr)  # noqa: T201  what a process says when it cannot
        return 1
    return 0


def _until_eof(over: threading.Event) -> None:
    while sys.stdin.buffer.readline():
        pass
    over.set()


if __name__ == "__main__":
    sys.exit(main())
