"""The asynchronous half of :mod:`harness.guest.ssh`: one asyncssh connection, and what is done over it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from harness.backends.model import Endpoint
from harness.core import Deadline, GuestError, LabError
from harness.guest.answering import answering
from harness.guest.login import Jump, Login, known_hosts

# A dead peer is noticed after INTERVAL x COUNT seconds; an emulated guest with many vCPUs can stall for several.
KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 5

_CHUNK = 1 << 16
_ANSWER = 1 << 12
"""Bytes of one answer in a conversation, of which there may be thousands."""
_REASON = 400
"""Characters of what a peer says why it hung up; it may send a quarter of a megabyte."""


class ConnectionLost(GuestError):
    """The ssh connection ended while it was needed. Whether the guest still lives, only its console can tell."""


class CommandTimeout(GuestError):
    """A command did not end by its deadline; it was killed."""


class Unreachable(GuestError):
    """No ssh connection could be made by the deadline. ``answered``: something spoke ssh there, so that the network
    lives and only the login failed, or was too slow.
    """

    answered = False


class HostKeyMismatch(LabError):
    """Another machine answered: its host key is not the one that the guest was given."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a remote command left behind.

    ``status`` is the exit status, or minus the signal's number as in :mod:`subprocess`. ``cut`` is True when there was
    more output than the limit: the rest was read and thrown away.
    """

    status: int
    stdout: bytes
    stderr: bytes
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Stamp:
    """One question and answer over an open channel, with the controller's clock (seconds since the epoch) around it."""

    sent: float
    received: float
    answer: bytes


@dataclass(slots=True)
class _Kept:
    """Output up to a limit, and whether there was more."""

    limit: int
    cut: bool = False
    # Not pieces: a peer that sends a byte at a time would have an object kept for each.
    data: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        room = self.limit - len(self.data)
        if len(data) > room:
            self.cut = True
        if room > 0:
            self.data += data[:room]

    def bytes(self) -> bytes:
        return bytes(self.data)


class Wire:
    """One connection. Everything but the constructor runs in the loop.

    Args:
        name: the guest's name, for messages.
        login: account, key and pinned host key.
    """

    def __init__(self, name: str, login: Login) -> None:
        self.name = name
        self.login = login
        self.host_key = login.host_key
        """The guest's public host key: pinned from the start, or as first seen."""
        self.connection: asyncssh.SSHClientConnection | None = None
        self.tunnel: asyncssh.SSHClientConnection | None = None
        self._answered = False
        self._silence = _SILENCE

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as this side knows."""
        return self.connection is not None and not self.connection.is_closed()

    async def abort(self) -> None:
        """Close the connection without waiting for a peer that may be gone."""
        for each in (self.connection, self.tunnel):
            if each is not None:
                each.abort()
        self.connection = self.tunnel = None

    async def connect(self, endpoint: Endpoint, deadline: Deadline, retry: bool) -> None:
        """See :meth:`harness.guest.ssh.Ssh.connect`."""
        seen = "nothing answered"
        self._answered = False
        while True:
            try:
                async with asyncio.timeout(deadline.seconds):
                    self.connection = await self._attempt(endpoint)
                    return
            except TimeoutError:
                raise self._unreachable(endpoint, f"no ssh by the deadline: {seen}") from None
            except asyncssh.HostKeyNotVerifiable as error:
                raise HostKeyMismatch(
                    f"{self.name}: {endpoint} answered with another host key: {error.reason[:_REASON]}",
                    operation="connect",
                    hint="another guest or service holds this address",
                ) from error
            except asyncssh.PermissionDenied as error:
                refused = (
                    f"user {self.login.user!r} with {self.login.private_key} was refused: {error.reason[:_REASON]}"
                )
                hint = "the seed was not applied, or the image's access settings are wrong"
                raise self._unreachable(endpoint, refused, hint) from error
            except (OSError, asyncssh.Error) as error:
                seen = str(error)[:_REASON] or type(error).__name__  # the peer may have worded it
            if not retry or deadline.seconds < _RETRY:
                raise self._unreachable(endpoint, f"no ssh by the deadline: {seen}")
            await asyncio.sleep(_RETRY)

    def _unreachable(self, endpoint: Endpoint, why: str, hint: str | None = None) -> Unreachable:
        error = Unreachable(f"{self.name} at {endpoint}: {why}", operation="connect", hint=hint)
        error.answered = self._answered
        return error

    async def _attempt(self, endpoint: Endpoint) -> asyncssh.SSHClientConnection:
        options: dict[str, Any] = {
            "username": self.login.user,
            "client_keys": [str(self.login.private_key)],
            "known_hosts": _known(endpoint, self.host_key),
            "config": [],
            "agent_path": None,
            "preferred_auth": "publickey",
            "keepalive_interval": KEEPALIVE_INTERVAL,
            "keepalive_count_max": KEEPALIVE_COUNT,
            "compression_algs": None,
            "gss_auth": False,
            "gss_kex": False,
        }
        if self.login.jump is not None:
            options["tunnel"] = self.tunnel = await _tunnel(self.login.jump)
            try:
                connection = await asyncssh.connect(endpoint.address, endpoint.port, **options)
            except BaseException:
                self.tunnel.abort()
                self.tunnel = None
                raise
        else:
            patience, self._silence = self._silence, min(self._silence * 1.5, _LONGEST_SILENCE)
            sock = await answering(endpoint, patience)
            self._answered, self._silence = True, _SILENCE
            connection = await _over(sock, endpoint, options)
        if self.host_key is None:
            key = connection.get_server_host_key()
            self.host_key = key.export_public_key().decode().strip() if key else None
        return connection

    async def _process(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        connection = self.connection
        if connection is None:
            raise ConnectionLost(f"{self.name}: the connection was closed")
        try:
            return await connection.create_process(command, encoding=None)
        except (OSError, asyncssh.Error) as error:
            raise ConnectionLost(
                f"{self.name}: the connection broke before `{short(command)}` began: {_why(error)}"
            ) from error

    async def run(self, command: str, deadline: Deadline, stdin: bytes, limit: int) -> Outcome:
        """See :meth:`harness.guest.ssh.Ssh.run`."""
        process: asyncssh.SSHClientProcess[bytes] | None = None
        out, err = _Kept(limit), _Kept(limit)
        try:
            async with asyncio.timeout(deadline.seconds):
                process = await self._process(command)
                await asyncio.gather(
                    _feed(process.stdin, stdin), _drain(process.stdout, out), _drain(process.stderr, err)
                )
                await process.wait_closed()
        except TimeoutError:
            raise CommandTimeout(
                f"{self.name}: `{short(command)}` did not end by its deadline; it had printed "
                f"{_tail(out.bytes())!r} and {_tail(err.bytes())!r}"
            ) from None
        except (OSError, asyncssh.Error) as error:
            why = f"the connection broke during `{short(command)}`: {_why(error)}"
            raise ConnectionLost(f"{self.name}: {why}") from error
        finally:
            if process is not None:
                _end(process)
        status = process.returncode
        if status is None:
            raise ConnectionLost(
                f"{self.name}: the connection broke during `{short(command)}`; it had printed {_tail(out.bytes())!r}"
            )
        return Outcome(status, out.bytes(), err.bytes(), out.cut or err.cut)

    async def converse(self, command: str, questions: int, deadline: Deadline) -> tuple[Stamp, ...]:
        """See :meth:`harness.guest.ssh.Ssh.converse`."""
        process: asyncssh.SSHClientProcess[bytes] | None = None
        stamps: list[Stamp] = []
        try:
            async with asyncio.timeout(deadline.seconds):
                process = await self._process(command)
                for _ in range(questions):
                    sent = time.time()
                    process.stdin.write(b"\n")
                    answer = await process.stdout.readline()
                    received = time.time()
                    if not answer.endswith(b"\n"):
                        raise ConnectionLost(
                            f"{self.name}: `{short(command)}` ended after {len(stamps)} of {questions} answers: "
                            f"{_tail(await process.stderr.read(_CHUNK))!r}"
                        )
                    if len(answer) > _ANSWER:
                        raise GuestError(f"{self.name}: `{short(command)}` answered with a line of {len(answer)} bytes")
                    stamps.append(Stamp(sent, received, answer.rstrip(b"\n")))
                process.stdin.write_eof()
                return tuple(stamps)
        except TimeoutError:
            raise CommandTimeout(
                f"{self.name}: `{short(command)}` gave {len(stamps)} of {questions} answers by its deadline"
            ) from None
        except (OSError, asyncssh.Error) as error:
            raise ConnectionLost(
                f"{self.name}: `{short(command)}` was lost after {len(stamps)} of {questions} answers: {_why(error)}"
            ) from error
        finally:
            if process is not None:
                _end(process)


_RETRY = 0.25

# How long a port may stay silent before whoever waits looks at the machine and its console again; a guest with too much
# to do needs its time, so each try gets more.
_SILENCE = 2.0
_LONGEST_SILENCE = 10.0


async def _tunnel(jump: Jump) -> asyncssh.SSHClientConnection:
    keys: dict[str, Any] = {"client_keys": [str(jump.private_key)]} if jump.private_key else {}
    return await asyncssh.connect(
        jump.endpoint.address,
        jump.endpoint.port,
        username=jump.user,
        known_hosts=str(jump.known_hosts),
        config=[],
        keepalive_interval=KEEPALIVE_INTERVAL,
        keepalive_count_max=KEEPALIVE_COUNT,
        **keys,
    )


async def _over(sock: socket.socket, endpoint: Endpoint, options: dict[str, Any]) -> asyncssh.SSHClientConnection:
    """Log in over a connected socket. asyncssh reads keys first: what fails then, or is cancelled, leaves it to us."""
    taken = False

    def owner() -> asyncssh.SSHClient:
        """Asked for once a connection has the socket, and closes it."""
        nonlocal taken
        taken = True
        return asyncssh.SSHClient()

    try:
        return await asyncssh.connect(endpoint.address, endpoint.port, sock=sock, client_factory=owner, **options)
    except BaseException:
        if not taken:
            sock.close()
        raise


def _known(endpoint: Endpoint, host_key: str | None) -> asyncssh.SSHKnownHosts | None:
    return asyncssh.import_known_hosts(known_hosts(endpoint, host_key)) if host_key else None


async def _feed(writer: asyncssh.SSHWriter[bytes], data: bytes) -> None:
    try:
        for start in range(0, len(data), _CHUNK):
            writer.write(data[start : start + _CHUNK])
            await writer.drain()
        writer.write_eof()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the command did not care to read it all; its status tells the rest


async def _drain(reader: asyncssh.SSHReader[bytes], kept: _Kept) -> None:
    while data := await reader.read(_CHUNK):
        kept.add(data)


def _end(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Kill what still runs and let go of the channel; on a dead connection both do nothing."""
    if process.returncode is None:
        with contextlib.suppress(OSError):
            process.kill()
    process.close()


def short(command: str) -> str:
    """A command line for a message."""
    return command if len(command) <= 160 else f"{command[:120]} ... {command[-30:]}"


def _why(error: BaseException) -> str:
    return str(error)[:_REASON]


def _tail(data: bytes) -> str:
    return data[-200:].decode("utf-8", "backslashreplace")
