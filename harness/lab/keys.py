"""The lab's key: what the tokens of its runs are made with, so that a mark can be told from one that somebody invented.

The names of things on hosts can be chosen by anybody who may make things there. A token that only the holders of the
key can make proves whose a thing is, also where the journal that knew the run is lost, or is another controller's.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from harness.core import LabError
from harness.lab.models import Lab

_SHORTEST = 16
_LENGTH = 32
"""Digits of a token, four bits each: it stands in names, and no host takes long ones."""


def key_of(lab: Lab, folder: Path) -> bytes:
    """The key that the lab file names, or else one of this controller's own, made when it is first asked for.

    Args:
        lab: whose.
        folder: where this controller keeps its state.

    Raises:
        LabError: it is not where the lab file says, too short, or cannot be kept.
    """
    if lab.key is not None:
        key, where = lab.key.reveal().encode(), str(lab.key)
    else:
        path = folder / "keys" / f"{lab.name}-{hashlib.sha256(str(lab.path).encode()).hexdigest()[:12]}"
        key, where = _kept(path), str(path)
    if len(key) < _SHORTEST:
        raise LabError(
            f"the key of the lab {lab.name!r} ({where}) has fewer than {_SHORTEST} letters",
            operation="key",
            hint="`openssl rand -hex 32` makes a good one",
        )
    return key


def token(key: bytes, run: str) -> str:
    """The token of a run: HMAC-SHA256 (RFC 2104) of its id, shortened."""
    return hmac.new(key, f"interop run {run}".encode(), hashlib.sha256).hexdigest()[:_LENGTH]


def genuine(key: bytes, run: str, given: str) -> bool:
    """Whether a token was made for this run by somebody who has the key."""
    return hmac.compare_digest(token(key, run).encode(), given.encode())


def _kept(path: Path) -> bytes:
    """The key in a file of this controller's, for its owner alone. Two processes that make one get the same.

    Raises:
        LabError: it can neither be read nor be made, as where a file system has no hard links; nothing is left then.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(secrets.token_hex(32))
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(part)
            finally:
                part.unlink(missing_ok=True)
        return path.read_bytes().strip()
    except OSError as error:
        raise LabError(
            f"the lab's key {path} cannot be kept: {error.strerror}",
            operation="key",
            hint="INTEROP_STATE names a folder on a local disk with space",
        ) from error
