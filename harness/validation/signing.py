"""Signatures by the lab's own key, made and checked by OpenSSH: https://man.openbsd.org/ssh-keygen.1, ``-Y``.

No key is ever made here. A signature says who stands behind a statement, so its key must be one that others know.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from harness.core import Deadline, LabError, UsageError
from harness.core.process import need, run

NAMESPACE = "interop-validation"
"""Keeps a signature of ours from being taken for one of a commit or a mail by the same key."""
_PATIENCE = timedelta(minutes=2)  # an agent may ask its owner


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed.

    Args:
        key: the key's fingerprint (``SHA256:...``).
        principal: the name by which an allowed-signers file knows the key; empty: nobody vouched for it.
    """

    key: str
    principal: str = ""


class BadSignature(LabError):
    """The signature does not belong to these bytes, or its key is none of those allowed."""


def fingerprint(key: Path) -> str:
    """The fingerprint of a key that can sign.

    Args:
        key: a private key file, or the public half of a key that an ssh agent holds.

    Raises:
        UsageError: there is no such key.
    """
    if not key.is_file():
        raise UsageError(f"{key}: there is no such key", hint="name the lab's own signing key; none is made here")
    try:
        said = run([_tool(), "-lf", key], Deadline.after(_PATIENCE)).decode("utf-8", "replace")
    except LabError as error:
        raise UsageError(f"{key}: is no ssh key: {error.message}") from error
    found = re.search(r"SHA256:[A-Za-z0-9+/=]+", said)
    if not found:
        raise UsageError(f"{key}: has no SHA256 fingerprint: {said.strip()[:200]}")
    return found[0]


def sign(data: bytes, key: Path) -> bytes:
    """A signature of ``data``, as armoured text.

    Raises:
        LabError: the key cannot sign: a passphrase that nobody typed, an agent without it.
    """
    return run([_tool(), "-Y", "sign", "-q", "-n", NAMESPACE, "-f", key], Deadline.after(_PATIENCE), stdin=data)


def verify(data: bytes, signature: bytes, allowed: Path | None) -> Signer:
    """Who signed ``data``.

    Args:
        data: what was signed.
        signature: armoured, as :func:`sign` makes it.
        allowed: an allowed-signers file (ssh-keygen(1), ALLOWED SIGNERS); None: whoever it was.

    Raises:
        BadSignature: it is not a signature of ``data``, or not by a key that is allowed to.
    """
    with tempfile.TemporaryDirectory(prefix="interop-verify-") as scratch:
        file = Path(scratch) / "signature"
        file.write_bytes(signature)
        common = ["-n", NAMESPACE, "-s", str(file)]
        said = _ask([_tool(), "-Y", "check-novalidate", *common], data, "the signature does not fit")
        key = re.search(r"SHA256:[A-Za-z0-9+/=]+", said)
        if key is None:
            raise BadSignature(f"ssh-keygen named no key: {said.strip()[:200]}")
        if allowed is None:
            return Signer(key[0])
        unknown = f"{allowed} allows no such key: {key[0]}"
        names = _ask([_tool(), "-Y", "find-principals", "-s", str(file), "-f", str(allowed)], b"", unknown)
        for name in names.split("\n"):
            if name:
                _ask([_tool(), "-Y", "verify", "-f", str(allowed), "-I", name, *common], data, unknown)
                return Signer(key[0], name)
        raise BadSignature(unknown)


def _ask(words: list[str], data: bytes, otherwise: str) -> str:
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            words, input=data, capture_output=True, timeout=_PATIENCE.total_seconds(), env=env, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"ssh-keygen could not check the signature: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise BadSignature(f"{otherwise} ({said.splitlines()[-1][:200] if said else done.returncode})")
    return done.stdout.decode("utf-8", "replace")


def _tool() -> str:
    return need("ssh-keygen", "openssh-client")
