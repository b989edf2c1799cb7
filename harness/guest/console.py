"""A guest's serial console, expect-like: it works where the network does not.

The port is shared with the kernel, which prints in the middle of anything. So a command's output is kept in a file
inside the guest and sent as lines of base64 between markers; what the kernel printed in between does not fit the form
and is left out. A line that was torn, or in which the port said a letter twice, as that of a busy emulated guest does,
has not its length: then the file is sent again, and what came whole is kept. The command is never run again.
"""

from __future__ import annotations

import base64
import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from harness.backends import protocol
from harness.core import Deadline, GuestError, Pending, wait_for
from harness.guest.result import Result

# How much of the output is held for looking back; a guest that prints rubbish for hours must not fill the controller.
_HELD = 4 << 20
_READ = 1 << 18
_READS = 64
_EVERY = 0.05
# Bytes of known output that are read again with each look: when they differ, the host has begun a new log.
_OVERLAP = 64
_HALF_PRINTED = 4096
# A terminal in canonical mode takes lines of at most 4095 characters (termios(3)); base64 makes four of three.
_CHUNK = 2400
# Output of one command over a line of 115200 baud: a megabyte is minutes.
_OUTPUT_LIMIT = 1 << 20

_SAID = 16 << 10
"""Characters of the console in an error message; evidence has more of it."""

_TRIES = 6
_WIDTH = 60

# A shell that does not edit lines: bash's readline switches the terminal's mode around every command, and what arrives
# in that moment is lost.
_PLAIN_SHELL = (
    "command -v dash >/dev/null && exec dash; command -v bash >/dev/null && exec bash --noediting --norc; exec sh"
)


class ConsoleSilent(GuestError):
    """The guest does not answer on its serial console."""


class SerialConsole:
    """The first serial port of a guest, read and written by the controller.

    Args:
        name: the guest's name, for messages.
        port: asked for the machine's port whenever it is used.
    """

    def __init__(self, name: str, port: Callable[[], protocol.Console]) -> None:
        self.name = name
        self._port = port
        self._held = bytearray()
        self._start = 0  # the offset, since power-on, of the first byte held
        self._told = 0  # the offset up to which `news` has told
        self._mark = 0  # the offset before which nothing is news

    # Reading.

    @property
    def end(self) -> int:
        """How many bytes the port has put out since power-on: remember it, to wait for what comes after."""
        self._look()
        return self._start + len(self._held)

    def since(self, offset: int = 0) -> str:
        """What was put out from ``offset`` on, as far as it is still held; undecodable bytes as escapes."""
        self._look()
        return self._text(offset)

    def tail(self, lines: int = 40) -> str:
        """The last lines, for an error message; of endless ones their ends."""
        return "\n".join(self.since().splitlines()[-lines:])[-_SAID:]

    def wait_for(self, pattern: str, deadline: Deadline, *, since: int | None = None) -> re.Match[str]:
        """Wait until the output from ``since`` (default: from now) matches a regular expression.

        Raises:
            ConsoleSilent: it did not by the deadline; with the last lines seen.
        """
        offset = self.end if since is None else since
        wanted = re.compile(pattern, re.MULTILINE)

        def seen() -> re.Match[str] | Pending:
            found = wanted.search(self.since(offset))
            return found or Pending(f"...{self._text(offset)[-600:]!r}")

        what = f"{pattern!r} on the console of {self.name}"
        return wait_for(what, seen, deadline, every=_EVERY, fault=ConsoleSilent)

    def news(self) -> str:
        """What was put out since the last call, with some lines before, as a sign may have been half printed then."""
        end = self.end
        text = self._text(max(self._mark, self._told - _HALF_PRINTED))
        self._told = end
        return text

    def mark(self) -> None:
        """What was put out so far is no news any more."""
        self._mark = self._told = self.end

    def forget(self) -> None:
        """Begin anew: after a revert or a power cycle the host's log is another one."""
        self._held.clear()
        self._start = self._told = self._mark = 0

    def _text(self, offset: int) -> str:
        return bytes(self._held[max(0, offset - self._start) :]).decode("utf-8", "backslashreplace").replace("\r", "")

    def _look(self) -> None:
        port = self._port()
        known = bytes(self._held[-_OVERLAP:])
        end = self._start + len(self._held)
        data = port.read(end - len(known), _READ)
        if not data.startswith(known):
            self.forget()
            known, end = b"", 0
            data = port.read(0, _READ)
        self._keep(data[len(known) :])
        # Bounded, so that a guest that prints faster than this reads cannot hold the reader for ever.
        for _ in range(_READS):
            data = port.read(self._start + len(self._held), _READ)
            if not data:
                break
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > _HELD:
            surplus = len(self._held) - _HELD
            del self._held[:surplus]
            self._start += surplus

    # Writing.

    def write(self, data: bytes) -> None:
        """Type bytes into the port as they are."""
        self._port().write(data)

    def login(self, deadline: Deadline) -> None:
        """Make sure that a plain root shell listens, without echo or prompt, whatever stands on the line now.

        The image logs root in on its first serial port by itself; an image that asks for a password cannot be helped.

        Raises:
            ConsoleSilent: no shell answered by the deadline; with the last lines seen.
        """
        began = self.end
        while True:
            left, right = secrets.token_hex(4), secrets.token_hex(4)
            # ^U drops a half typed line. The echo of this line never holds the two halves side by side.
            shell = f"stty -echo; printf '%s%s\\n' {left} {right}; {_PLAIN_SHELL}"
            self.write(f"\x15PS1= PS2= exec sh -c {shlex.quote(shell)}\n".encode())
            try:
                self.wait_for(left + right, deadline.sooner(_SHELL_ANSWERS), since=began)
            except ConsoleSilent:
                if deadline.expired:
                    last = self._text(began)[-600:]
                    raise ConsoleSilent(
                        f"{self.name}: no shell answered on the serial console; last seen: {last!r}",
                        operation="login",
                        hint="the image must log root in on ttyS0" if "login:" in last else None,
                    ) from None
            else:
                return
            # ^C ends whatever else sits there in the foreground.
            self.write(b"\x03\n")

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: timedelta = timedelta(minutes=1),
        stdin: bytes = b"",
        check: bool = True,
    ) -> Result:
        """Run a command as root over the console.

        Args:
            argv: the command and its arguments; the words are quoted, no shell reads them.
            timeout: for logging in, typing, running and reading together.
            stdin: what it reads before end of file; typed in at some kilobytes a second.
            check: whether a status other than 0 is an error.

        Raises:
            CommandFailed: with ``check``, the status is not 0.
            ConsoleSilent: no end by the deadline.
        """
        deadline = Deadline.after(timeout)
        self.login(deadline)
        self._do("d=$(mktemp -d -p /run 2>/dev/null || mktemp -d)", deadline)
        try:
            self._type_file('"$d/in"', stdin, deadline)
            line = shlex.join(argv)
            if len(line.encode()) > _CHUNK or any(ord(letter) < 32 for letter in line):
                # Too long for a terminal's line, or with letters that a terminal acts on.
                self._type_file('"$d/line"', line.encode(), deadline)
                line = 'sh "$d/line"'
            status = self._do(f'{line} <"$d/in" >"$d/out" 2>"$d/err"', deadline)
            out, cut = self._fetch('"$d/out"', deadline)
            err, _ = self._fetch('"$d/err"', deadline)
        finally:
            self.write(b'rm -rf "$d"\n')
        result = Result(tuple(argv), status, out, err, cut)
        return result.checked(self.name) if check else result

    def _do(self, line: str, deadline: Deadline) -> int:
        """Have the shell run one line, and wait for its status."""
        tag = secrets.token_hex(6)
        began = self.end
        # Twice, here and below: a letter that was lost or doubled in the one leaves the other.
        self.write(f'{line}; set -- {tag} $?; printf \'%s-%s-end\\n\' "$@" "$@"\n'.encode())
        return int(self.wait_for(rf"{tag}-([0-9]{{1,10}})-end", deadline, since=began)[1])

    def _type_file(self, path: str, data: bytes, deadline: Deadline) -> None:
        """Bring data into a file of the guest, a line at a time: a terminal holds 4095 bytes that nobody has read."""
        self._do(f": >{path}", deadline)
        for start in range(0, len(data), _CHUNK):
            text = base64.b64encode(data[start : start + _CHUNK]).decode("ascii")
            self._do(f"printf %s {text} | base64 -d >>{path}", deadline)

    def _fetch(self, path: str, deadline: Deadline) -> tuple[bytes, bool]:
        """A file of the guest, as its shell names it, over the console; and whether it was cut."""
        kept: dict[tuple[int, int], dict[int, str]] = {}
        for _ in range(_TRIES):
            tag = secrets.token_hex(6)
            began = self.end
            # Each line carries the tag, so that a kernel message glued to it is told apart; cksum is POSIX.
            self.write(
                f"head -c {_OUTPUT_LIMIT} {path} | base64 -w {_WIDTH} | grep -n . "
                f"| sed 's/.*/{tag[:6]}\"\"{tag[6:]}:&;/' | tr -d '\"'; "
                f"set -- {tag} $(head -c {_OUTPUT_LIMIT} {path} | cksum | tr ' ' '-') $(stat -c %s {path}); "
                f'printf \'%s-%s-%s-end\\n\' "$@" "$@"\n'.encode()
            )
            # Ten digits are enough for a checksum, and all that is fetched; the guest may say anything.
            end = self.wait_for(rf"{tag}-([0-9]{{1,10}})-([0-9]{{1,10}})-([0-9]{{1,20}})-end", deadline, since=began)
            checksum, size = int(end[1]), int(end[2])
            if size > _OUTPUT_LIMIT:
                raise ConsoleSilent(f"{self.name}: {path} is said to have {size} bytes of {_OUTPUT_LIMIT} at most")
            pieces = re.findall(rf"{tag}:([0-9]{{1,7}}):([A-Za-z0-9+/=]*);", self._text(began))
            lines, lengths = kept.setdefault((checksum, size), {}), line_lengths(size)
            lines.update({int(at): piece for at, piece in pieces if lengths.get(int(at)) == len(piece)})
            if len(lines) < len(lengths):
                continue
            with suppress(ValueError):  # padding in the middle
                data = base64.b64decode("".join(lines[at] for at in sorted(lines)))
                if posix_cksum(data) == checksum:
                    return data, int(end[3]) > size
            lines.clear()
        raise ConsoleSilent(f"{self.name}: {path} came torn over the console {_TRIES} times", operation="console")


# How long a shell may take to answer a line before it is asked again; emulated guests under load are slow.
_SHELL_ANSWERS = timedelta(seconds=5)


def line_lengths(size: int) -> dict[int, int]:
    """How long each line is, by its number from 1, of so many bytes in base64."""
    letters = 4 * -(-size // 3)
    return {at // _WIDTH + 1: min(_WIDTH, letters - at) for at in range(0, letters, _WIDTH)}


def posix_cksum(data: bytes) -> int:
    """The checksum of POSIX ``cksum`` (IEEE Std 1003.1, cksum): CRC-32 over the data and then its length."""
    crc = 0
    length = len(data)
    tail = bytearray()
    while length:
        tail.append(length & 0xFF)
        length >>= 8
    for byte in data + bytes(tail):
        crc = ((crc << 8) ^ _TABLE[(crc >> 24) ^ byte]) & 0xFFFFFFFF
    return crc ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    values = []
    for index in range(256):
        crc = index << 24
        for _ in range(8):
            crc = ((crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
        values.append(crc)
    return tuple(values)


_TABLE = _table()
