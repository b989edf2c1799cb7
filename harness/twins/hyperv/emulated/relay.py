"""What a twin without a PowerShell engine starts for ``powershell.exe``: it takes its input to the twin's own invoker.

Run as a file with the program's arguments (``python -IS relay.py -NoProfile ... -EncodedCommand ...``): nothing of the
harness is imported, for it is started for every command. It knows one script, the agent's bootstrap.
"""

import base64
import os
import socket
import sys
import threading

SOCKET = "INTEROP_TWIN_SOCKET"
BOOTSTRAP = "INTEROP_TWIN_BOOTSTRAP"
"""The environment variable that holds the encoded bootstrap."""
CONSTRAINED = "INTEROP_TWIN_CONSTRAINED"
"""The environment variable that is set where the policy trusts signed files alone."""


def main() -> int:
    """Take lines there and back."""
    words = [word.lower() for word in sys.argv[1:]]
    first = b""
    if "-file" in words:
        with open(sys.argv[words.index("-file") + 2], "rb") as script:  # noqa: PTH123  see above
            first = script.read()
    elif "-encodedcommand" not in words or sys.argv[words.index("-encodedcommand") + 2] != os.environ[BOOTSTRAP]:
        sys.stderr.write(
            "This twin has no PowerShell engine (pwsh is not on PATH), and knows no script but the agent.\r\n"
        )
        return 1
    elif CONSTRAINED in os.environ:
        # What the bootstrap makes of it.
        sys.stdin.buffer.readline()
        print('@HV1 0 {"ok":false,"id":"ConstrainedLanguage"}', flush=True)  # noqa: T201  this is a program
        return 0
    line = socket.socket(socket.AF_UNIX)
    line.connect(os.environ[SOCKET])
    user = os.environ.get("USERNAME", "")
    line.sendall(f"{'installed' if first else 'agent'} {user}\n".encode())
    if first:
        line.sendall(base64.b64encode(first) + b"\n")
    threading.Thread(target=_feed, args=(line,), daemon=True).start()
    code = 0
    for answer in line.makefile("rb"):
        if answer.startswith(b"!"):
            sys.stderr.write(answer[1:].decode())
            code = 1
        else:
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()
    return code


def _feed(line: socket.socket) -> None:
    for word in sys.stdin.buffer:
        line.sendall(word)
    line.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main())
