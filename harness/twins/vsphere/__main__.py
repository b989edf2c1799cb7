"""``python -m harness.twins.vsphere``: one line of JSON in, one line of JSON out, then it stays up.

It ends by a signal, with its standard input (unless ``--stay``), or when its simulator ends; its guests end with it,
even when it is killed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from harness.core import InteropError
from harness.twins.vsphere.build import NotToBeHad
from harness.twins.vsphere.twin import Twin, read_config


def main() -> int:
    """Run a twin to its end."""
    parser = argparse.ArgumentParser(prog="python -m harness.twins.vsphere", description=__doc__)
    parser.add_argument("--config", type=Path, metavar="FILE", help="read the configuration there, not from stdin")
    parser.add_argument("--stay", action="store_true", help="end by a signal alone, not with stdin")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        return _run(options.config, stay=options.stay)
    except InteropError as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_UNAVAILABLE if isinstance(error, NotToBeHad) else 1


def _run(config: Path | None, *, stay: bool) -> int:
    ended = threading.Event()
    status = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Twin(read_config(config, sys.stdin.buffer.readline)) as twin:
        _say(json.dumps(twin.record))
        if not stay:
            threading.Thread(target=_until_silent, args=(ended,), name="stdin", daemon=True).start()

        def until_dead() -> None:
            nonlocal status
            code = twin.wait()
            if not ended.is_set():
                sys.stderr.write(f"the vCenter simulator ended with {code}\n")
                status = 1
                ended.set()

        threading.Thread(target=until_dead, name="simulator", daemon=True).start()
        ended.wait()
    return status


def _until_silent(ended: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ended.set()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
