"""The evidence bundle: one ``.tar.zst`` with everything a statement rests on, the same bytes from the same evidence.

A plain ustar archive of regular files (POSIX.1-1988), names sorted, times and owners zero; ``SHA256SUMS`` last but one,
in the form that ``sha256sum -c`` reads, and the signature of exactly that file last. So ``tar``, ``sha256sum`` and
``ssh-keygen`` check a bundle as well as :func:`verify` does.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.core import GiB, LabError, MiB, Size, UsageError
from harness.validation import signing
from harness.validation.signing import BadSignature, Signer

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
STATEMENT = "statement.md"

LARGEST = Size(8 * GiB)
MOST = 500_000
_LEVEL = 10
_WINDOW = 128 * MiB  # what zstd's own command line takes without being asked to
_SUMS_LIMIT = 128 * MiB
_BLOCK = tarfile.BLOCKSIZE
_NAME = re.compile(r"[A-Za-z0-9._@+-][A-Za-z0-9._@+ -]*(/[A-Za-z0-9._@+-][A-Za-z0-9._@+ -]*)*")


class BrokenBundle(LabError):
    """A bundle that is not what it says: changed, cut, or made to do harm when it is unpacked."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a bundle proved to be.

    Args:
        files: how many files it holds, manifest and signature not counted.
        size: their bytes.
        signer: who signed; None: it is not signed.
        statement: the Markdown statement in it.
    """

    files: int
    size: Size
    signer: Signer | None
    statement: str


def write(target: Path, files: Mapping[str, Path | bytes], key: Path | None) -> None:
    """Write a bundle.

    Args:
        target: the file, ``*.tar.zst``; it is there whole or not at all.
        files: by name in the bundle.
        key: signs it; None: it is not signed.

    Raises:
        UsageError: a name that no bundle may hold.
        LabError: zstandard is not installed, or the key cannot sign.
    """
    for name in files:
        if not _NAME.fullmatch(name) or name in (SUMS, SIGNATURE) or _leaves(name):
            raise UsageError(f"{name!r} cannot be the name of a file in a bundle")
    sums = "".join(f"{_sha256(content)}  {name}\n" for name, content in sorted(files.items())).encode()
    temporary = target.with_name(f".{target.name}.writing")
    try:
        with (
            temporary.open("wb") as raw,
            _zstandard().ZstdCompressor(level=_LEVEL).stream_writer(raw) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for name, content in sorted(files.items()):
                _add(archive, name, content)
            _add(archive, SUMS, sums)
            if key is not None:
                _add(archive, SIGNATURE, signing.sign(sums, key))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def verify(bundle: Path, allowed: Path | None = None, *, largest: Size = LARGEST) -> Verified:
    """Check everything a bundle claims; nothing is unpacked.

    Args:
        bundle: the file.
        allowed: an allowed-signers file; None: any key will do, and that is the reader's to judge.
        largest: bytes that it may unpack to.

    Raises:
        UsageError: there is no such file.
        BrokenBundle: it is damaged, changed, or holds what no bundle of ours does; names the first such thing.
        BadSignature: its signature does not hold.
    """
    if not bundle.is_file():
        raise UsageError(f"{bundle}: there is no such file")
    if allowed is not None and not allowed.is_file():
        raise UsageError(f"{allowed}: there is no such file", hint="ssh-keygen(1), ALLOWED SIGNERS, says what it holds")
    digests: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    size = 0
    with bundle.open("rb") as raw:
        for name, length, content in _members(_Unpacked(raw, largest)):
            if name in digests:
                raise BrokenBundle(f"{name}: is in the bundle twice")
            hashed, head = hashlib.sha256(), []
            keep = name in (SUMS, SIGNATURE, STATEMENT)
            if keep and length > _SUMS_LIMIT:
                raise BrokenBundle(f"{name}: is {Size(length)} long")
            for chunk in content:
                hashed.update(chunk)
                head += [chunk] * keep
            digests[name] = hashed.hexdigest()
            size += length if name not in (SUMS, SIGNATURE) else 0
            if keep:
                kept[name] = b"".join(head)
    _compare(kept, digests)
    signer = signing.verify(kept[SUMS], kept[SIGNATURE], allowed) if SIGNATURE in kept else None
    if signer is None and allowed is not None:
        raise BadSignature("the bundle is not signed, and a signature of an allowed key was asked for")
    return Verified(
        len(digests.keys() - {SUMS, SIGNATURE}), Size(size), signer, kept[STATEMENT].decode("utf-8", "replace")
    )


def _compare(kept: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
    if SUMS not in kept:
        raise BrokenBundle(f"has no {SUMS}")
    claimed: dict[str, str] = {}
    for line in kept[SUMS].decode("utf-8", "replace").splitlines():
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not found or found[2] in claimed:
            raise BrokenBundle(f"{SUMS}: not understood: {line[:200]!r}")
        claimed[found[2]] = found[1]
    there = digests.keys() - {SUMS, SIGNATURE}
    for words, names in (("is missing", claimed.keys() - there), ("is not in the manifest", there - claimed.keys())):
        if names:
            raise BrokenBundle(f"{min(names)}: {words}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else ""))
    changed = sorted(name for name, digest in claimed.items() if digests[name] != digest)
    if changed:
        raise BrokenBundle(f"{changed[0]}: was changed" + (f" (and {len(changed) - 1} more)" if changed[1:] else ""))
    if STATEMENT not in claimed:
        raise BrokenBundle(f"has no {STATEMENT}")


class _Unpacked:
    """The archive inside, read piece by piece and never more than allowed."""

    def __init__(self, raw: IO[bytes], largest: int) -> None:
        zstandard = _zstandard()
        self._error = zstandard.ZstdError
        unpacker = zstandard.ZstdDecompressor(max_window_size=int(_WINDOW))
        # Across frames, so that what somebody put behind the first is seen as well.
        self._stream = unpacker.stream_reader(raw, read_across_frames=True)
        self._left = int(largest)
        self._largest = Size(largest)

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; fewer only at the end."""
        pieces: list[bytes] = []
        while count:
            try:
                piece = self._stream.read(min(count, 1 << 20))
            except self._error as error:
                raise BrokenBundle(f"is no sound zstd file: {error}") from error
            if not piece:
                break
            pieces.append(piece)
            count -= len(piece)
            self._left -= len(piece)
            if self._left < 0:
                raise BrokenBundle(f"unpacks to more than {self._largest}", hint="--largest allows more")
        return b"".join(pieces)


def _members(archive: _Unpacked) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Name, length and content of each file; everything that a bundle of ours cannot hold is refused."""
    # tarfile would follow long-name records and pax headers, which may be of any size: this reads headers alone.
    for _ in range(MOST):
        header = archive.read(_BLOCK)
        if len(header) != _BLOCK:
            raise BrokenBundle("ends too early")
        if not header.strip(b"\0"):
            break
        entry = _entry(header)
        content = _content(archive, entry)
        yield entry.name, entry.size, content
        for _unread in content:
            pass
    else:
        raise BrokenBundle(f"holds more than {MOST} files")
    while rest := archive.read(1 << 20):
        if rest.strip(b"\0"):
            raise BrokenBundle("something stands behind the end of the archive")


def _entry(header: bytes) -> tarfile.TarInfo:
    try:
        entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise BrokenBundle(f"is no sound archive: {error}") from error
    shown = entry.name[:200]
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise BrokenBundle(f"{shown!r}: is no regular file (type {entry.type!r})")
    if entry.size < 0:  # GNU's extension for large numbers has a sign
        raise BrokenBundle(f"{shown!r}: has a length of {entry.size}")
    if not _NAME.fullmatch(entry.name) or _leaves(entry.name):
        raise BrokenBundle(f"{shown!r}: is no name that a bundle may hold")
    return entry


def _content(archive: _Unpacked, entry: tarfile.TarInfo) -> Iterator[bytes]:
    left = entry.size
    while left:
        piece = archive.read(min(left, 1 << 20))
        if not piece:
            raise BrokenBundle(f"{entry.name}: ends too early")
        left -= len(piece)
        yield piece
    archive.read(-entry.size % _BLOCK)


def _leaves(name: str) -> bool:
    return any(part in ("", ".", "..") for part in name.split("/"))


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)  # mode 0644, mtime and owners 0, no names of owners
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return
    with content.open("rb") as file:
        entry.size = content.stat().st_size
        archive.addfile(entry, file)


def _sha256(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _zstandard() -> Any:
    try:
        import zstandard  # noqa: PLC0415  an extra
    except ImportError as error:
        hint = "pip install 'interop-harness[verdicts]'"
        raise LabError("evidence bundles need the package zstandard", hint=hint) from error
    return zstandard
