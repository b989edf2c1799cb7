"""Load between two guests, made and taken by programs at both ends; the first word says which one this is.

    drain ADDRESS STREAMS               take so many connections, and tell each at its end how much came by it
    flood OWN ADDRESS PORT STREAMS SPAN fill so many connections for SPAN seconds, and tell how each got on
    answer ADDRESS                      take one connection, and answer each byte that comes by it with one
    ask OWN ADDRESS PORT COUNT          send a byte, await the answer, and so on, so often; tell how long each took

drain and answer print their port as soon as the other side may go on, and work in the background from then on.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable

from harness.guest.inside.background import background

CHUNK = 1 << 17
STILL = 60.0
"""Seconds that a connection may take to come, or stand still: a busy, emulated guest can stall for many."""


def count(connection: socket.socket) -> None:
    """Read one connection to its end, and answer how much came."""
    kept, size = bytearray(CHUNK), 0
    with connection:
        while True:
            came = connection.recv_into(kept)
            if not came:
                break
            size += came
        connection.sendall(str(size).encode())


def drain(address: str, streams: str) -> None:
    """One thread a connection."""
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen(int(streams))
        server.settimeout(STILL)
        background(server.getsockname()[1])
        for _ in range(int(streams)):
            connection = server.accept()[0]
            connection.settimeout(STILL)
            threading.Thread(target=count, args=(connection,)).start()


def flood(own: str, address: str, port: str, streams: str, span: str) -> None:
    """All connections are there before the first byte is sent."""
    chunk, where = bytes(CHUNK), (address, int(port))
    try:
        connections = [socket.create_connection(where, STILL, (own, 0)) for _ in range(int(streams))]
    except OSError as error:
        print(json.dumps({"broken": "no connection: " + (str(error) or type(error).__name__)}))
        return
    began = time.monotonic()
    flows: list[dict[str, object]] = [{} for _ in connections]

    def fill(connection: socket.socket, flow: "dict[str, object]") -> None:
        sent = 0
        try:
            with connection:
                # Something at least: where many begin at once, some have their first turn when the time is over.
                while not sent or time.monotonic() < began + float(span):
                    sent += connection.send(chunk)
                connection.shutdown(socket.SHUT_WR)
                said = b"".join(iter(lambda: connection.recv(CHUNK), b""))
            flow.update(sent=sent, received=int(said or b"0"), seconds=time.monotonic() - began)
        except OSError as error:
            flow.update(sent=sent, broken=str(error) or type(error).__name__)

    workers = [threading.Thread(target=fill, args=pair) for pair in zip(connections, flows)]  # noqa: B905  guests may have no Python with it
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps({"flows": flows}))


def answer(address: str) -> None:
    """Answer, until the other side ends it."""
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen(1)
        server.settimeout(STILL)
        background(server.getsockname()[1])
        connection = server.accept()[0]
    with connection:
        connection.settimeout(STILL)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in iter(lambda: connection.recv(1), b""):
            connection.sendall(byte)


def ask(own: str, address: str, port: str, often: str) -> None:
    """Print how long each answer took, in seconds; fewer than were asked for when the connection broke."""
    took: list[float] = []
    said: dict[str, object] = {"took": took}
    try:
        with socket.create_connection((address, int(port)), STILL, (own, 0)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(int(often)):
                began = time.monotonic()
                connection.sendall(b"?")
                if not connection.recv(1):
                    said["broken"] = "the other side closed it"
                    break
                took.append(round(time.monotonic() - began, 9))
    except OSError as error:
        said["broken"] = str(error) or type(error).__name__
    print(json.dumps(said))


def main() -> None:
    """Be what the first word says."""
    verbs: dict[str, Callable[..., None]] = {"drain": drain, "flood": flood, "answer": answer, "ask": ask}
    verbs[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
