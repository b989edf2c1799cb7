"""A port on which somebody begins to speak: an ssh server says its version unasked (RFC 4253, 4.2)."""

from __future__ import annotations

import asyncio
import functools
import socket

from harness.backends.model import Endpoint

_FRESH = 1.0
"""Seconds between two tries: how exactly the end of a boot is seen."""


async def answering(endpoint: Endpoint, patience: float) -> socket.socket:
    """A connected socket on which the peer has begun to speak.

    slirp accepts for a guest that is not up yet, and like every TCP then asks the guest later and later; so a try that
    was begun too early is answered long after the guest could. One try has all the time that a guest with too much to
    do may need; beside it a fresh one is made every second, in place of the last. Whichever is answered first counts.

    Args:
        endpoint: where.
        patience: seconds.

    Raises:
        OSError: it refused or hung up, or said nothing for so long.
    """
    tries = [asyncio.create_task(_spoken(endpoint))]
    answered: asyncio.Task[socket.socket] | None = None
    kept: socket.socket | None = None
    try:
        async with asyncio.timeout(patience):
            while answered is None:
                patient, fresh = tries[0], tries[-1]
                done, _ = await asyncio.wait({patient, fresh}, timeout=_FRESH, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    answered = done.pop()
                else:
                    if fresh is not patient:
                        fresh.cancel()
                    tries.append(asyncio.create_task(_spoken(endpoint)))
        kept = answered.result()
    except TimeoutError:
        raise ConnectionRefusedError(f"{endpoint} said nothing for {patience:.0f} s") from None
    else:
        return kept
    finally:
        # Nothing is waited for here: who is cancelled meanwhile would lose what was answered.
        for each in tries:
            each.cancel()
            each.add_done_callback(functools.partial(_let_go, kept))


def _let_go(kept: socket.socket | None, tried: asyncio.Task[socket.socket]) -> None:
    if not tried.cancelled() and tried.exception() is None and tried.result() is not kept:
        tried.result().close()


async def _spoken(endpoint: Endpoint) -> socket.socket:
    running = asyncio.get_running_loop()
    found = await running.getaddrinfo(endpoint.address, endpoint.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await running.sock_connect(sock, address)
        spoke = asyncio.Event()
        running.add_reader(sock, spoke.set)
        try:
            await spoke.wait()
        finally:
            running.remove_reader(sock)
        if not sock.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError(f"{endpoint} hung up before it said anything")
    except BaseException:
        sock.close()
        raise
    return sock
