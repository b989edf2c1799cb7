"""A guest that is a folder: real packages, scripts and dpkg, with systemd's answers made from unit files."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from harness.guest.result import Result
from harness.guest.services import Unit, parse_version

_SHIMS = {
    "dpkg": 'exec /usr/bin/dpkg --root="$ROOT" --force-not-root --force-script-chrootless --log=/dev/null "$@"',
    "dpkg-query": 'exec /usr/bin/dpkg-query --admindir="$ROOT/var/lib/dpkg" "$@"',
    # `systemctl show --property P --value -- UNIT`: ExecStart from the unit's file; few have a process.
    "systemctl": """case $1 in
show)
    for unit; do :; done
    file="$ROOT/lib/systemd/system/$unit"
    case "$3" in
    ExecStart) sed -n "s#^ExecStart=\\([^ ]*\\).*#{ path=$ROOT\\1 ; }#p" "$file" ;;
    MainPID) cat "$ROOT/pid-of-$unit" 2>/dev/null || echo 0 ;;
    esac ;;
esac""",
    # `find / /run -xdev ...`: below the folder alone.
    "find": 'shift 3; exec /usr/bin/find "$ROOT" -path "$ROOT/var/lib/dpkg" -prune -o "$@"',
    # Of all processes of this machine, those whose program is the guest's.
    "readlink": """target=$(/usr/bin/readlink "$@") || exit 1
case $1,$target in /proc/*/exe,"$ROOT"/*) ;; /proc/*/exe,*) exit 1 ;; esac
printf '%s\\n' "$target\"""",
    "rpm": "exit 1",
}


@dataclass
class LocalGuest:
    """See above; ``root`` is its file system."""

    root: Path
    name: str = "local"
    kernels: list[str] = field(default_factory=lambda: ["6.1.0-1"])
    said: list[list[str]] = field(default_factory=list)
    spoils: bool = False
    """Whether what is written arrives changed."""

    def __post_init__(self) -> None:
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "usr/lib", "shims"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/dpkg/status").touch()
        for name, text in _SHIMS.items():
            shim = self.root / "shims" / name
            shim.write_text(f"#!/bin/sh\n{text}\n")
            shim.chmod(0o755)
        self.hypervisor = SimpleNamespace(name="kvm")
        self.files, self.services, self.kernel = self, self, self
        self.boots = 1

    # Commands.

    def run(self, argv: Sequence[str], *, timeout=None, stdin: bytes = b"", check: bool = True) -> Result:
        self.said.append(list(argv))
        if list(argv[:3]) == ["systemctl", "--no-block", "reboot"]:
            self.boots += 1
            return Result(tuple(argv), 0, b"", b"")
        words = [self.inside(word) if word.startswith("/var/tmp/") else word for word in argv]
        path = f"{self.root}/shims:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": path, "ROOT": str(self.root), "LC_ALL": "C.UTF-8", "HOME": str(self.root)}
        done = subprocess.run(words, input=stdin, capture_output=True, env=environment, cwd=self.root, check=False)
        result = Result(tuple(argv), done.returncode, done.stdout, done.stderr)
        return result.checked(self.name) if check else result

    def inside(self, path: str) -> str:
        return str(self.root / path.lstrip("/"))

    def disconnect(self) -> None:
        self.said.append(["disconnect"])

    @property
    def boot_id(self) -> str:
        return f"boot {self.boots}"

    def reboot_seen(self, old: str, deadline) -> str:
        assert self.boot_id != old, "it was never booted again"
        return self.boot_id

    # Files.

    def write(self, path: str, data: bytes, *, mode: int = 0o644, timeout=None) -> None:
        file = Path(self.inside(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data + b"!" if self.spoils else data)

    def sha256(self, path: str) -> str:
        return hashlib.sha256(Path(self.inside(path)).read_bytes()).hexdigest()

    def remove(self, path: str) -> None:
        shutil.rmtree(self.inside(path), ignore_errors=True)

    # Services and kernel.

    def version(self, package: str | None = None) -> str | None:
        if package is None:
            return self.kernels[min(self.boots, len(self.kernels)) - 1]
        argv = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}\\n", package]
        return parse_version(self.run(argv, check=False).stdout)

    def first(self, names: Sequence[str]) -> Unit:
        """It runs where its program would."""
        for name in names:
            file = self.root / "lib/systemd/system" / name
            if file.is_file():
                program = re.search(r"^ExecStart=(\S+)", file.read_text(), re.MULTILINE)[1]
                up = os.access(self.inside(program), os.X_OK)
                return Unit(name, "loaded", *(("active", "running") if up else ("failed", "failed")), "enabled", 0, up)
        raise AssertionError(f"there is no unit {' or '.join(names)}")

    def failed(self) -> tuple[str, ...]:
        units = [file.name for file in (self.root / "lib/systemd/system").glob("*.service")]
        return tuple(name for name in units if self.first([name]).active == "failed")

    @contextmanager
    def undisturbed(self, noise=()):
        yield


@dataclass(frozen=True)
class Package:
    """A package to build: an agent with a service, as one of integration services is.

    Args:
        version: of the package.
        program: what the agent's program does; None: its unit names one that is not there.
        postinst: run after it is unpacked.
        files: further files, by path.
    """

    version: str
    program: str | None = "exec sleep 1000"
    postinst: str = ""
    files: tuple[str, ...] = ()
    name: str = "acme-agent"

    def build(self, folder: Path) -> Path:
        """The .deb file, by dpkg-deb."""
        tree = folder / f"{self.name}-{self.version}.tree"
        content = {
            "DEBIAN/control": f"Package: {self.name}\nVersion: {self.version}\nArchitecture: all\n"
            "Maintainer: Acme <acme@example.com>\nDescription: an agent\n",
            "lib/systemd/system/acme-agent.service": "[Service]\nExecStart=/usr/lib/acme/agent\n",
            **dict.fromkeys(self.files, "file\n"),
        }
        if self.program is not None:
            content["usr/lib/acme/agent"] = f"#!/bin/sh\n# {self.name}\n{self.program}\n"
        if self.postinst:
            content["DEBIAN/postinst"] = f"#!/bin/sh\nset -e\n{self.postinst}\n"
        for path, text in content.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            if path in ("DEBIAN/postinst", "usr/lib/acme/agent"):
                file.chmod(0o755)
        built = folder / f"{self.name}_{self.version}_all.deb"
        argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(built)]
        subprocess.run(argv, check=True, capture_output=True)
        return built
