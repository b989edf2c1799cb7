"""Many facts for one remote command, framed so that no output can be taken for another's."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.guest.probe import CAT, Probe, ProbeFailed
from harness.guest.result import Result


def _token() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Batch:
    """A shell script that runs probes in order, and the way back from what it prints to their results.

    After each step's output stands ``token``, the status and a newline, on stdout and on stderr alike. The token is
    unguessable and reaches the guest by stdin, so it shows in no process list and can be in no output.

    Starting a process is what a fact costs, so neighbouring files are read by one ``cat``. What parts their contents
    is the shell's own command line, which Linux shows as a file, with a NUL after each word: no text has those.

    Args:
        probes: the facts to read.
        token: ends each step.
        separator: parts files within a step.
    """

    probes: Sequence[Probe[Any]]
    token: str = field(default_factory=_token)
    separator: str = field(default_factory=_token)

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that reads the script from stdin."""
        return ("sh", "-s", self.separator)

    @property
    def script(self) -> bytes:
        """A POSIX shell script."""
        mark = f"m() {{ printf '{self.token} %s\\n' \"$1\"; printf '{self.token} %s\\n' \"$1\" >&2; }}"
        lines = [mark, "m begin"]
        for step in self._steps():
            lines += [f"{_line(step)} </dev/null", "m $?"]
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")

    def results(self, stdout: bytes, stderr: bytes, guest: str) -> list[Result]:
        """One result a probe, in order.

        Raises:
            ProbeFailed: a frame is missing; names the first fact that has none.
        """
        outs, errs = self._frames(stdout), self._frames(stderr)
        found: list[Result] = []
        for at, step in enumerate(self._steps()):
            if at >= min(len(outs), len(errs)):
                raise self._missing(step[0], stderr, guest)
            (out, said), (err, _) = outs[at], errs[at]
            if not re.fullmatch(r"[0-9]{1,3}", said):
                raise self._missing(step[0], stderr, guest)
            status = int(said)
            found += self._files(step, out, err, guest) if len(step) > 1 else [Result(step[0].argv, status, out, err)]
        return found

    def _steps(self) -> list[list[Probe[Any]]]:
        """Neighbouring file probes together, every other probe alone."""
        steps: list[list[Probe[Any]]] = []
        for probe in self.probes:
            if steps and _is_file(probe) and _is_file(steps[-1][0]):
                steps[-1].append(probe)
            else:
                steps.append([probe])
        return steps

    def _frames(self, data: bytes) -> list[tuple[bytes, str]]:
        pieces = re.split(rf"{self.token} (\w+)\n".encode(), data)
        # pieces: before, "begin", output, status, output, status, ..., rest
        return [(pieces[at], pieces[at + 1].decode("ascii")) for at in range(2, len(pieces) - 1, 2)]

    def _files(self, step: list[Probe[Any]], out: bytes, err: bytes, guest: str) -> list[Result]:
        contents = out.split(f"sh\0-s\0{self.separator}\0".encode())[1:]
        if len(contents) != len(step):
            raise self._missing(step[min(len(contents), len(step) - 1)], err, guest)
        # `cat` goes on after a file that it cannot read, and names it; its status is of all of them.
        complaints = err.decode("utf-8", "surrogateescape").splitlines()
        found = []
        for probe, content in zip(step, contents, strict=True):
            said = [line for line in complaints if line.startswith(f"cat: {probe.argv[-1]}: ")]
            found.append(Result(probe.argv, 1 if said else 0, content, "\n".join(said).encode()))
        return found

    @staticmethod
    def _missing(probe: Probe[Any], stderr: bytes, guest: str) -> ProbeFailed:
        return ProbeFailed(
            f"{guest}: {probe.name}: `{shlex.join(probe.argv)}` did not end properly, or printed without end: "
            f"{stderr[-300:].decode('utf-8', 'backslashreplace')!r}"
        )


def _is_file(probe: Probe[Any]) -> bool:
    # `cat` quotes names with unusual letters in its complaints: such a file is read by a process of its own.
    return probe.argv[:-1] == CAT and re.fullmatch(r"[\w./:@%+,-]+", probe.argv[-1], re.ASCII) is not None


def _line(step: list[Probe[Any]]) -> str:
    if len(step) == 1:
        return shlex.join(step[0].argv)
    return " ".join([*CAT, *(f"/proc/$$/cmdline {shlex.quote(probe.argv[-1])}" for probe in step)])
