"""Where a host and its guest leave values for each other, without a network.

Each hypervisor has its own place for them; expectations name it, so that checks need not know which one it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from harness.backends.protocol import Exchange, Refused
from harness.backends.verbs import able
from harness.core import Deadline, GuestError, UsageError
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# A record of a pool, in bytes (include/uapi/linux/hyperv.h): both parts end in a NUL and are filled up with more.
KEY_BYTES, VALUE_BYTES = 512, 2048
TO_GUEST, TO_HOST = 0, 1  # the pools that the host and the guest write


class Mailbox(Protocol):
    """Values by name, in both directions. None stands for: there is no such value."""

    def host_tells(self, key: str, value: str | None, deadline: Deadline) -> None:
        """The host leaves a value, or takes it away."""

    def guest_reads(self, key: str) -> str | None:
        """What the guest finds.

        Raises:
            ProbeFailed: it finds something else; perhaps half of what is just being written.
        """

    def guest_tells(self, key: str, value: str | None) -> None:
        """The guest leaves a value, or takes it away."""

    def host_reads(self, key: str, deadline: Deadline) -> str | None:
        """What the host finds."""


def parse_pool(data: bytes) -> dict[str, str]:
    """A file of ``hv_kvp_daemon`` (tools/hv in Linux), by key."""
    size = KEY_BYTES + VALUE_BYTES
    if len(data) % size:
        raise ValueError(f"{len(data)} bytes are no whole records of {size}")
    records = (data[at : at + size] for at in range(0, len(data), size))
    return {_text(record[:KEY_BYTES]): _text(record[KEY_BYTES:]) for record in records}


def parse_guestinfo(data: bytes | None) -> dict[str, str]:
    """One JSON object of texts, by key; nothing was told where there is no file, or one that is still empty."""
    told = json.loads(data) if data else {}
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise ValueError("not one object of texts")
    return told


def pool(values: Mapping[str, str]) -> bytes:
    """The same the other way round.

    Raises:
        ValueError: a key or value does not fit.
    """
    return b"".join(_field(key, KEY_BYTES) + _field(value, VALUE_BYTES) for key, value in values.items())


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _field(text: str, size: int) -> bytes:
    data = text.encode()
    if len(data) >= size:
        raise ValueError(f"{text[:40]!r}... has {len(data)} bytes; {size - 1} fit")
    return data.ljust(size, b"\0")


class AgentFiles:
    """Files of the guest that its QEMU guest agent writes and reads for the host (``qga/qapi-schema.json``)."""

    def __init__(self, guest: Guest, folder: str) -> None:
        self._guest, self._folder = guest, folder
        guest.run(["mkdir", "-p", "--", folder])

    def host_tells(self, key: str, value: str | None, deadline: Deadline) -> None:
        """A value that is taken away leaves an empty file: the agent removes none."""
        handle = self._ask("guest-file-open", deadline, path=self._path(key), mode="w")
        try:
            data = base64.b64encode((value or "").encode()).decode("ascii")
            self._ask("guest-file-write", deadline, handle=handle, **{"buf-b64": data})
        finally:
            self._ask("guest-file-close", deadline, handle=handle)

    def guest_reads(self, key: str) -> str | None:
        """An empty file is no value."""
        return self._guest.read(Probe.maybe_file(self._path(key), lambda data: (data or b"").decode() or None))

    def guest_tells(self, key: str, value: str | None) -> None:
        """A value that is taken away leaves no file."""
        if value is None:
            self._guest.files.remove(self._path(key))
        else:
            self._guest.files.write(self._path(key), value.encode())

    def host_reads(self, key: str, deadline: Deadline) -> str | None:
        """A file that cannot be opened is no value."""
        try:
            handle = self._ask("guest-file-open", deadline, path=self._path(key), mode="r")
        except Refused:
            return None
        try:
            read = self._ask("guest-file-read", deadline, handle=handle)
        finally:
            self._ask("guest-file-close", deadline, handle=handle)
        try:
            return base64.b64decode(read["buf-b64"]).decode() or None
        except (ValueError, LookupError, TypeError) as error:
            raise GuestError(f"{self._guest.name}: its agent read {key} as {str(read)[:200]!r}: {error}") from error

    def _path(self, key: str) -> str:
        return f"{self._folder}/{key}"

    def _ask(self, command: str, deadline: Deadline, **arguments: Any) -> Any:
        asked = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(able(self._guest.machine, Exchange).exchange(asked, deadline))


class Guestinfo:
    """``guestinfo.*`` of vSphere.

    Args:
        guest: who reads and writes by ``vmtoolsd --cmd``.
        file: one JSON object that it reads instead where its host has no channel to ``vmtoolsd``; it cannot write then.
    """

    def __init__(self, guest: Guest, file: str = "") -> None:
        self._guest, self._file = guest, file

    def host_tells(self, key: str, value: str | None, deadline: Deadline) -> None:
        """An empty value takes the key away (vSphere API, ``extraConfig``)."""
        able(self._guest.machine, Exchange).exchange(f"guestinfo.{key}={value or ''}", deadline)

    def guest_reads(self, key: str) -> str | None:
        """By ``info-get``, or in the file."""
        if self._file:
            return self._guest.read(Probe.maybe_file(self._file, parse_guestinfo)).get(f"guestinfo.{key}") or None
        done = self._guest.run(["vmtoolsd", "--cmd", f"info-get guestinfo.{key}"], check=False)
        return done.text.strip() or None if done.ok else None

    def guest_tells(self, key: str, value: str | None) -> None:
        """By ``info-set``."""
        if self._file:
            raise UsageError(f"{self._guest.name} has no channel to tell its host guestinfo.{key} by")
        self._guest.run(["vmtoolsd", "--cmd", f"info-set guestinfo.{key} {value or ''}"])

    def host_reads(self, key: str, deadline: Deadline) -> str | None:
        """An empty value is none."""
        try:
            return able(self._guest.machine, Exchange).exchange(f"guestinfo.{key}", deadline) or None
        except Refused:
            return None


class KvpPools:
    """The pools of ``hv_kvp_daemon``: files of records, 0 written by the host, 1 by the guest."""

    def __init__(self, guest: Guest, folder: str) -> None:
        self._guest, self._folder = guest, folder

    def host_tells(self, key: str, value: str | None, deadline: Deadline) -> None:
        """A value that is taken away is an empty one."""
        able(self._guest.machine, Exchange).exchange(f"{key}={value or ''}", deadline)

    def guest_reads(self, key: str) -> str | None:
        """In pool 0; an empty value is none."""
        return self._pool(TO_GUEST).get(key) or None

    def guest_tells(self, key: str, value: str | None) -> None:
        """In pool 1, which the daemon reads anew whenever its host asks."""
        values = self._pool(TO_HOST)
        values.pop(key, None)
        self._guest.files.write(self._file(TO_HOST), pool(values | ({} if value is None else {key: value})))

    def host_reads(self, key: str, deadline: Deadline) -> str | None:
        """An empty value is none."""
        try:
            return able(self._guest.machine, Exchange).exchange(key, deadline) or None
        except Refused:
            return None

    def _file(self, number: int) -> str:
        return f"{self._folder}/.kvp_pool_{number}"

    def _pool(self, number: int) -> dict[str, str]:
        return self._guest.read(Probe.maybe_file(self._file(number), lambda data: parse_pool(data or b"")))


KINDS = {"agent-files": AgentFiles, "guestinfo": Guestinfo, "kvp-pools": KvpPools}


def mailbox(guest: Guest, words: str) -> Mailbox:
    """The one that expectations name.

    Args:
        guest: whose.
        words: its kind, and where in the guest it is: ``kvp-pools /var/lib/hyperv``.

    Raises:
        UsageError: there is no such kind.
    """
    kind, *where = words.split()
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of mailbox", hint=f"one of {', '.join(KINDS)}")
    made: Mailbox = KINDS[kind](guest, *where)
    return made
