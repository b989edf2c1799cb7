"""TCP between two guests, seen by programs at both ends; the first word says which one this is.

    receive ADDRESS SECONDS              take one connection, read it to its end, answer over it how much came
    send OWN ADDRESS PORT BYTES SECONDS  send random data, and tell what the other side answered
    echo ADDRESS SECONDS                 take one connection and send back whatever comes, until it ends
    hold PATH OWN ADDRESS PORT           make one connection and keep it, for requests that come by the socket PATH
    ask PATH REQUEST                     put one to it: `say WORD`, `hear SECONDS` or `close`

receive, echo and hold print their port as soon as the other side may go on, and work in the background from then on.
SECONDS is how long a connection may take to come, or stand still; one that is echoed or held may be silent for ever.
A held connection that breaks is never made anew.
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable

from harness.guest.inside.background import background

CHUNK = 1 << 16
PATIENCE = 30


def taken(address: str, seconds: str) -> socket.socket:
    """The one connection that comes."""
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen(1)
        server.settimeout(float(seconds))
        background(server.getsockname()[1])
        connection = server.accept()[0]
    connection.settimeout(float(seconds))
    return connection


def receive(address: str, seconds: str) -> None:
    """Count and hash."""
    with taken(address, seconds) as connection:
        size, seen = 0, hashlib.sha256()
        for chunk in iter(lambda: connection.recv(CHUNK), b""):
            size += len(chunk)
            seen.update(chunk)
        connection.sendall(json.dumps({"size": size, "sha256": seen.hexdigest()}).encode())


def send(own: str, address: str, port: str, size: str, seconds: str) -> None:
    """Print what was sent and what the other side says came, or why it did not."""
    seen = hashlib.sha256()
    try:
        where = (address, int(port))
        with socket.create_connection(where, timeout=float(seconds), source_address=(own, 0)) as connection:
            for offset in range(0, int(size), CHUNK):
                chunk = os.urandom(min(CHUNK, int(size) - offset))
                connection.sendall(chunk)
                seen.update(chunk)
            connection.shutdown(socket.SHUT_WR)
            said = b"".join(iter(lambda: connection.recv(CHUNK), b""))
    except OSError as error:
        print(json.dumps({"broken": str(error) or type(error).__name__}))
        return
    if not said:
        print(json.dumps({"broken": "the other side closed it without an answer"}))
        return
    print(json.dumps({"sent": {"size": int(size), "sha256": seen.hexdigest()}, "received": json.loads(said.decode())}))


def echo(address: str, seconds: str) -> None:
    """Send everything back."""
    with taken(address, seconds) as connection:
        connection.settimeout(None)
        for chunk in iter(lambda: connection.recv(CHUNK), b""):
            connection.sendall(chunk)


def answer(connection: socket.socket, verb: str, word: str, kept: bytearray) -> "dict[str, str]":
    """Do what was asked of the held connection."""
    try:
        if verb == "say":
            connection.settimeout(PATIENCE)
            connection.sendall(word.encode() + b"\n")
            return {"said": word}
        if verb == "close":
            connection.close()
            return {"closed": ""}
        connection.settimeout(float(word))
        while b"\n" not in kept:
            chunk = connection.recv(CHUNK)
            if not chunk:
                return {"broken": "the other side closed it"}
            kept += chunk
    except OSError as error:
        return {"broken": str(error) or type(error).__name__}
    line, _, rest = bytes(kept).partition(b"\n")
    kept[:] = rest
    return {"heard": line.decode()}


def hold(path: str, own: str, address: str, port: str) -> None:
    """Connect, or print why that cannot be, then serve requests."""
    try:
        connection = socket.create_connection((address, int(port)), timeout=PATIENCE, source_address=(own, 0))
    except OSError as error:
        print(json.dumps({"broken": str(error) or type(error).__name__}))
        return
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        background(connection.getsockname()[1])
        kept = bytearray()
        verb = ""
        while verb != "close":
            with server.accept()[0] as asker:
                verb, _, word = asker.recv(CHUNK).decode().partition(" ")
                asker.sendall(json.dumps(answer(connection, verb, word, kept)).encode())


def ask(path: str, request: str) -> None:
    """Print the answer."""
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(path)
        asker.sendall(request.encode())
        print(b"".join(iter(lambda: asker.recv(CHUNK), b"")).decode())


def main() -> None:
    """Be what the first word says."""
    verbs: dict[str, Callable[..., None]] = {
        "receive": receive,
        "send": send,
        "echo": echo,
        "hold": hold,
        "ask": ask,
    }
    verbs[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
