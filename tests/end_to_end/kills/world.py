"""A lab of one column that outlives who is killed in it: its hosts, what stands on them, and what of it changed."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.core import MiB
from harness.image.content import digest_of_file
from harness.image.recipe import NamedRecipe, Recipe, SourceFile
from harness.image.store import Store
from harness.lab import load_lab
from tests.contract import hyperv, vsphere

CHECKOUT = Path(__file__).resolve().parents[3]
COLUMNS = ("kvm", "vsphere", "hyperv")
_LAN = {"vsphere": ("VM Network", 91), "hyperv": ("LAN", 92)}

_LAB = """
key: file:{key}
hosts:
  {column}: {{backend: {column}, accel: tcg}}
networks:
  management: {{kind: user}}
  peers: {{kind: switch, subnet: 10.97.0.0/24}}
"""
_TWIN = """
key: file:{key}
hosts:
  {column}: {{backend: {column}, twin: true, networks: {{management: lan, peers: wires}}}}
networks:
  lan: {{kind: network, source: {lan}, subnet: 10.{net}.0.0/16, nat: 127.{net}.0.0/16, ssh_port: 2222}}
  wires: {{kind: network, source: peers, subnet: 10.97.0.0/24}}
"""
_HALT = b"\xfa\xf4\xeb\xfd"
"""A boot sector that stops its processor for good: ``cli; hlt; jmp`` back."""


@dataclass
class World:
    """One host, with folders of its own for the controllers beside it.

    Args:
        folder: of everything; short, for sockets lie below it.
        column: the backend, and the host's name.
        path: where programs are found.
    """

    folder: Path
    column: str
    path: str

    @property
    def lab(self) -> Path:
        """The lab file."""
        return self.folder / f"{self.column}.yaml"

    @property
    def cache(self) -> Path:
        """All controllers' images and embedded hosts."""
        return self.folder / "cache"

    def state(self, controller: str = "here") -> Path:
        """A controller's journal."""
        return self.folder / controller / "state"

    def env(self, controller: str = "here") -> dict[str, str]:
        """What its processes find in their environment."""
        places = {"INTEROP_STATE": str(self.state(controller)), "INTEROP_CACHE": str(self.cache)}
        return {**os.environ, **places, "CI": "true", "PATH": self.path}

    def interop(self, *words: str, controller: str = "here", status: int = 0) -> str:
        """The command, as people call it; what it printed."""
        argv = [sys.executable, "-m", "harness.cli", *words, "--lab", str(self.lab)]
        done = subprocess.run(
            argv, cwd=CHECKOUT, env=self.env(controller), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def victim(self, image: str, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start one."""
        argv = [sys.executable, "-m", "tests.end_to_end.kills.victim", str(self.lab), self.column, image, *words]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(argv, cwd=CHECKOUT, env=self.env(), **(streams | how))

    def image(self) -> str:
        """A tiny disk that nobody has published yet: its digest."""
        work = self.folder / "images"
        work.mkdir(exist_ok=True)
        name = f"tiny-{secrets.token_hex(4)}"
        disk = work / name
        with disk.open("wb") as file:
            file.truncate(MiB)
            file.write(_HALT)
            file.seek(510)
            file.write(b"\x55\xaa")
            file.seek(MiB // 2)
            file.write(name.encode())
        source = SourceFile(path=disk, sha256=digest_of_file(disk))
        recipe = NamedRecipe(name=name, recipe=Recipe(summary="for a test", source=source), folder=work)
        return Store(self.cache / "images").build(recipe).image.digest

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the journal of this controller says."""
        with contextlib.closing(sqlite3.connect(self.state() / "interop.sqlite3", timeout=60)) as opened:
            return opened.execute(sql, values).fetchall()

    def age(self) -> None:
        """Let the time pass that a host may work on for somebody who died."""
        with contextlib.closing(sqlite3.connect(self.state() / "interop.sqlite3", timeout=60)) as opened, opened:
            opened.execute("UPDATE journal SET intended = intended - 3600 WHERE handle IS NULL")

    # What is there.

    def inventory(self) -> dict[str, str]:
        """Everything on the host and everything of the controller's, and what of it can be told to have changed."""
        found = {f"process {uuid}": "" for uuid in self._emulators()}
        found |= self._seen_by_others()
        for place in (self.cache, self.state()):
            for path in sorted(place.rglob("*")):
                name = str(path.relative_to(self.folder))
                if not _PASSING.search(name) and path.name not in self._published():
                    found[name] = _content(path) if _PLANTED in name else path.is_dir() * "folder"
        return found

    def _emulators(self) -> Iterator[str]:
        """QEMU's processes of this lab, by their machines' UUIDs."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                if "qemu-system" in words[0] and any(str(self.folder) in word for word in words):
                    yield next((word for word in words if _UUID.fullmatch(word)), entry.name)

    def _published(self) -> set[str]:
        """Names of complete images: cache, which belongs to no run."""
        return {f"{entry.image.digest}.{form}" for entry in self._images() for form in ("qcow2", "vhdx")}

    def _images(self) -> list[Any]:
        return Store(self.cache / "images").entries()

    @functools.cached_property
    def site(self) -> Any:
        """The host, by a client that is not ours."""
        site = SimpleNamespace(host=load_lab(self.lab).hosts[self.column], lab=load_lab(self.lab))
        site.run = SimpleNamespace(id="none")
        return site

    def _seen_by_others(self) -> dict[str, str]:
        if self.column == "vsphere":
            return self._vsphere()
        if self.column == "hyperv":
            return self._hyperv()
        return {}  # all that libvirt's embedded driver has is in files

    def _vsphere(self) -> dict[str, str]:
        from pyVmomi import vim

        with vsphere.content(self.site) as service:
            machines = {
                f"machine {one.name} {one._moId}": f"{one.config.annotation} {one.runtime.powerState}"
                for one in vsphere.every(service, vim.VirtualMachine)
                if not one.name.startswith("interop-base-") or one.name.count("-") > 3
            }
            folders = {f"folder {one.name} {one._moId}": "" for one in vsphere.every(service, vim.Folder)}
        return machines | folders

    def _hyperv(self) -> dict[str, str]:
        with hyperv.talk(self.site) as ask:
            rows = ask({"call": "Get-VM", "args": {}, "get": ["Id", "Name", "Notes", "State"]})[0]
        return {f"machine {row['Name']} {row['Id']}": f"{row['Notes']} {row['State']}" for row in rows}


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLANTED = "planted"
_PASSING = re.compile(
    r"\.lock$|\.sqlite3(-wal|-shm)?$|/state/(switch|runs|twins)(/|$)|/state/\w+\.json$|libvirt\.log$"  # bookkeeping
    r"|/images/(store/[0-9a-f]{64}(/(disk\.\w+|manifest\.json))?|locks/.*)$"  # whole images of this controller
    r"|/roots/\d+(/cache(/.*)?|/(lib|run|log|etc)(/qemu(/\w+(\.pid)?)?)?)?$"  # what libvirt makes for itself
    r"|/twins/[\w-]+/(engine|bodies|incoming|control|cmdlets|work|log|modules)(/|$)"  # the twin's insides
    r"|/datastore/interop-base-[0-9a-f]{12}-[0-9a-f]{8}-[0-9a-f]{6}(/|$)"  # the files of whole images
)
"""What may come, go and change without being anybody's thing."""


def _content(path: Path) -> str:
    return digest_of_file(path) if path.is_file() else "folder"


def begin(folder: Path, column: str, programs: Path, *, path: str) -> World:
    """A world whose host is up, with nothing on it.

    Args:
        folder: an empty one, with a short name.
        column: which backend.
        programs: where twins' programs were built before.
        path: where programs are found.
    """
    world = World(folder, column, path)
    key = folder / "key"
    key.write_text(secrets.token_hex(16))
    for place in (world.state(), world.cache / "twins"):
        place.mkdir(parents=True)
    for program in programs.glob("vcsim-*"):
        if program.is_file() and program.suffix != ".lock":
            (world.cache / "twins" / program.name).symlink_to(program)
    if column == "kvm":
        world.lab.write_text(_LAB.format(key=key, column=column))
    else:
        lan, net = _LAN[column]
        world.lab.write_text(_TWIN.format(key=key, column=column, lan=lan, net=net))
        world.interop("twin", "up", column)
    return world


def end(world: World) -> None:
    """Take the host away."""
    if world.column != "kvm":
        world.interop("twin", "down", world.column)
