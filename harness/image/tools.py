"""Running the long tools of image work: their progress is read as it comes, and a full disk is named as such."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.core import Deadline, LabError, Size
from harness.core.process import need
from harness.image.progress import Advance

_TAIL = 4000
_LINE = 200
_FULL = ("No space left on device", "Disk quota exceeded", "have enough free space")
"""What tools say on a full disk: strerror(3) in English (tools run with LC_ALL=C.UTF-8), and apt."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PERCENT = re.compile(rb"(\d{1,3}\.\d\d)(?:/100%| *\[)")
"""``(12.34/100%)`` of qemu-img, ``12.34 [####`` of mmdebstrap; both redraw one line with a carriage return."""


def watched(
    argv: Sequence[str | Path],
    deadline: Deadline,
    heard: Callable[[bytes], None],
    *,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a tool on a pseudo-terminal of its own (mmdebstrap draws its bar nowhere else) and pass on what it prints.

    The tool is ended with all its children when the deadline passes or we are interrupted. The terminal is its
    controlling one, so that the kernel hangs it up when we are killed: mmdebstrap then cleans up after itself.

    Raises:
        LabError: it could not start, failed, or overran the deadline; with the end of what it printed.
    """
    words = [str(word) for word in argv]
    line = shlex.join(words)
    shown = line if len(line) <= _LINE else line[:_LINE] + " ..."
    tail = b""
    ours, theirs = os.openpty()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ours)
        # Under nohup(1) the signal of a hang-up is ignored, and would be by the tool.
        leader = [need("setsid", "util-linux"), "--ctty", need("env", "coreutils"), "--default-signal=HUP", *words]
        try:
            process = subprocess.Popen(leader, stdin=theirs, stdout=theirs, stderr=theirs, env=english(env))
        except OSError as error:
            raise LabError(f"`{shown}` could not start: {error}", operation=words[0]) from error
        finally:
            os.close(theirs)
        stack.callback(_end, process)
        for chunk in _output(ours, process, deadline):
            tail = (tail + chunk)[-_TAIL:]
            heard(chunk)
        if process.poll() is None:
            raise LabError(f"`{shown}` did not finish in the time allowed", operation=words[0])
    if process.returncode != 0:
        text = _COLOUR.sub("", tail.decode("utf-8", "replace"))
        said = "\n".join(part for part in re.split(r"[\r\n]+", text) if _tells(part))
        raise LabError(f"`{shown}` ended with {process.returncode}: {said[-1500:]}", operation=words[0])


def english(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment (default: ours) with messages in English, so that a full disk can be told by them."""
    return {**(env or os.environ), "LC_ALL": "C.UTF-8"}


def share_of(advance: Advance) -> Callable[[bytes], None]:
    """Turn the percentages in a tool's output into calls of ``advance``."""

    def heard(chunk: bytes) -> None:
        found = _PERCENT.findall(chunk)
        if found:
            advance(min(1.0, float(found[-1]) / 100))

    return heard


@contextlib.contextmanager
def space_for(what: str, folder: Path, needed: Size) -> Iterator[None]:
    """Refuse work that cannot fit, and turn "no space left" in the middle of it into one clear error.

    Args:
        what: the work, as it reads after "for".
        folder: where the bytes go; must exist.
        needed: how much the work takes at its peak.

    Raises:
        LabError: names the folder, what is free there and what is needed.
    """
    free = Size(shutil.disk_usage(folder).free)
    hint = "free some space (`interop image prune`), or point INTEROP_CACHE at a larger file system"
    if free < needed:
        raise LabError(f"not enough space in {folder} for {what}: {free} free, about {needed} needed", hint=hint)
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise LabError(f"no space left in {folder} while {what}; about {needed} needed", hint=hint) from error
    except LabError as error:
        if not any(words in error.message for words in _FULL):
            raise
        raise LabError(f"no space left in {folder} while {what}; about {needed} needed", hint=hint) from error


def _output(descriptor: int, process: subprocess.Popen[bytes], deadline: Deadline) -> Iterator[bytes]:
    while True:
        ready, _, _ = select.select([descriptor], [], [], min(1.0, deadline.seconds))
        if ready:
            try:
                chunk = os.read(descriptor, 1 << 16)
            except OSError:  # EIO: the last writer closed the terminal
                chunk = b""
            if not chunk:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=deadline.seconds)
                return
            yield chunk
        elif process.poll() is not None or deadline.expired:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM first: mmdebstrap removes its temporary directory and unmounts on it."""
    for number, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience)


def _tells(line: str) -> bool:
    return bool(line.strip()) and not _PERCENT.search(line.encode())
