"""A twin that is only a process: it answers as it was asked, remembers its configuration, and ends as twins do."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    config = json.loads(sys.stdin.readline())
    folder = Path(config["folder"])
    (folder / "config.json").write_text(json.dumps(config))
    behaviour = os.environ.get("TINY_TWIN", "well")
    if behaviour == "dies":
        sys.exit("there is no compiler")
    if behaviour == "cannot":
        sys.stderr.write("there is no compiler\n")
        sys.exit(os.EX_UNAVAILABLE)
    if behaviour == "rubbish":
        sys.stdout.write("hello\n")
    sys.stderr.write("building its front\n")
    sys.stderr.flush()
    sys.stdout.write(json.dumps({"kind": "tiny", "endpoint": "127.0.0.1:4", "user": "u", "password": "hunter2"}) + "\n")
    sys.stdout.flush()
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    if "--stay" in sys.argv:
        signal.pause()
    sys.stdin.read()


if __name__ == "__main__":
    main()
