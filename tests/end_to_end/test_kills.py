"""Killed at any instant, the harness leaves nothing that `interop reap` does not find, and touches nothing else.

A process uses every verb of a host that makes or deletes something (``kills/victim.py``), on libvirt's embedded driver
and on twins that outlive it, and is killed by SIGKILL: before and after every call that makes or deletes (on a wire
also between request and answer), or at an instant by chance. Then `interop reap` is run, and everything on the host and
of the controller is as it was: others' machines that look like ours, and a run beside that lives, included.

By night (``INTEROP_KILLS=all``) every call, and 200 instants over the columns; else a few of each, as many as
``INTEROP_KILLS`` says, drawn by ``INTEROP_SEED``.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.core import Deadline, Pending, paths, wait_for
from harness.lab.judge import Fate
from tests.end_to_end.kills import planted, sources
from tests.end_to_end.kills.seams import AFTER, BEFORE, SENT
from tests.end_to_end.kills.world import COLUMNS, World, begin, end

WANTED = os.environ.get("INTEROP_KILLS", "3")
ALL = WANTED == "all"
SEED = os.environ.get("INTEROP_SEED", "4")
INSTANTS = 200 if ALL else int(WANTED)
"""Over all columns."""
CALLS = None if ALL else -(-INSTANTS // 3)
"""Of each column; None: all."""
PROGRAMS = paths.cache() / "twins"


@dataclass
class Tried:
    """A column that is up, with a neighbour that lives and with what others have there.

    Args:
        world: the host, and the controllers beside it.
        neighbour: a run with a machine that is on.
        more: words for victims: what they do besides.
        trace: what a victim calls when nobody kills it.
        seconds: how long that takes.
        before: the inventory that must be there again.
        known: rows of the journal that were told already.
    """

    world: World
    neighbour: subprocess.Popen
    more: list[str]
    trace: list[dict]
    seconds: float
    before: dict[str, str]
    known: list[tuple] = field(default_factory=list)

    def kill(self, *words: str, after: float | None = None) -> bool:
        """Start a victim and have it killed: by itself, or from here; whether it was."""
        with self.world.victim(self.world.image(), *words, *self.more) as victim:
            try:
                assert victim.stdout.readline() == b"begun\n"
                victim.wait(120 if after is None else after)
            except subprocess.TimeoutExpired:
                victim.kill()
        assert victim.returncode in (0, -9)
        return victim.returncode == -9

    def left(self) -> list[str]:
        """What is there now and was not, was there and is not, or changed; and what the journal still has."""
        now = self.world.inventory()
        found = [f"left: {name}" for name in now.keys() - self.before.keys()]
        found += [f"lost: {name}" for name in self.before.keys() - now.keys()]
        found += [f"changed: {name}" for name in now.keys() & self.before.keys() if now[name] != self.before[name]]
        living = self.world.rows("SELECT id FROM runs WHERE ended IS NULL AND reaped IS NULL")
        assert len(living) == 1, "the neighbour's"
        for table, where in (("journal", "gone IS NULL AND"), ("leases", "")):
            rows = self.world.rows(f"SELECT * FROM {table} WHERE {where} run <> ?", *living[0])
            found += [f"{table}: {row}" for row in rows if row not in self.known]
            self.known += rows
        self.before = now  # each is told once, where it came up
        return sorted(found)

    def undisturbed(self) -> bool:
        """Whether the neighbour still has its machine, and may do with it what it likes."""
        self.neighbour.stdin.write(b"look\n")
        self.neighbour.stdin.flush()
        return self.neighbour.stdout.readline() == b"running\n"

    def reap(self) -> None:
        """By the command, as often as it says that its host may still be making what nobody waits for any more."""
        if Fate.MAKING.value in self.world.interop("reap"):
            self.world.age()
            assert Fate.MAKING.value not in self.world.interop("reap")


@pytest.fixture(scope="module", params=COLUMNS)
def tried(request):
    """The column, tried once without a kill; then its neighbour moves in, and others' things are planted."""
    folder = Path(tempfile.mkdtemp(prefix="ik-", dir="/tmp"))
    path = os.environ["PATH"]
    if not ALL:  # the real engine of PowerShell takes seconds to start: by night
        path = os.pathsep.join(part for part in path.split(os.pathsep) if not shutil.which("pwsh", path=part))
    with pytest.MonkeyPatch.context() as patch:
        world = begin(folder, request.param, PROGRAMS, path=path)
        for name in ("INTEROP_STATE", "INTEROP_CACHE"):
            patch.setenv(name, world.env()[name])
        try:
            yield from _tried(world)
        finally:
            end(world)
            shutil.rmtree(folder)


def _tried(world: World):
    _undisturbed(world)  # whatever is made once and kept is made now
    ((run,),) = world.rows("SELECT id FROM runs")
    planted.plant(world, run)
    with world.victim(world.image(), "--neighbour", stdin=subprocess.PIPE) as neighbour:
        try:
            assert neighbour.stdout.readline() == b"begun\n"
            assert neighbour.stdout.readline()
            more = ["--uefi"] if ALL and world.column == "kvm" else []
            _undisturbed(world, *more)  # in the second root of the embedded host
            trace = world.folder / "trace"
            began = time.monotonic()
            _undisturbed(world, "--trace", str(trace), *more)
            seconds = time.monotonic() - began
            calls = [json.loads(line) for line in trace.read_text().splitlines()]
            tried = Tried(world, neighbour, more, calls, seconds, {})
            tried.reap()
            tried.before = world.inventory()
            yield tried
            neighbour.stdin.close()
            assert neighbour.wait(60) == 0, "the neighbour could not end as it wanted"
        finally:
            neighbour.kill()


def _undisturbed(world, *words):
    with world.victim(world.image(), *words) as victim:
        assert victim.wait(120) == 0


@pytest.fixture(autouse=True)
def here(places, tried, monkeypatch):
    """This process finds the world's twins, and none of the inner runs'."""
    for name in ("INTEROP_STATE", "INTEROP_CACHE"):
        monkeypatch.setenv(name, tried.world.env()[name])


def tell(*lines: str) -> None:
    """What a night came to is worth a line, whoever captures it."""
    sys.stderr.writelines(f"{line}\n" for line in lines)


def test_every_call_is_journalled_before_it_is_made_and_until_it_is_done(tried):
    """At each call that makes or deletes a thing, an entry stands for it: by its name, or by its machine's."""
    bare = [f"{call['number']} {call['name']} {call['words'][-200:]}" for call in tried.trace if not _covered(call)]
    assert bare == [], "\n".join(bare)


def test_every_call_that_the_backend_has_is_made(tried):
    """By its source: what a verb may ask for some day is counted, and is either made here or said not to be."""
    column = tried.world.column
    names = [call["name"] for call in tried.trace]
    made = {word for name in names for word in (name.split() if column == "hyperv" else [name])}
    unmade = _UNMADE[column].keys() - (_UEFI if ALL else set())
    assert sources.calls(column) - made == unmade
    assert column != "kvm" or sources.uncounted() == set()


def test_what_is_killed_at_a_call_is_reaped_and_nothing_else(tried):
    """Before it, after it, and where a wire is in between, after the request went out."""
    calls = [call for call in tried.trace if not _ONCE.match(_said(call))]
    points = [
        (call["number"], when) for call in calls for when in (BEFORE, SENT, AFTER) if call["wire"] or when != SENT
    ]
    chosen = points if CALLS is None else random.Random(SEED).sample(points, CALLS)
    problems, missed = [], []
    for number, when in chosen:
        point = f"{when} {number} {tried.trace[number - 1]['name']}"
        if not tried.kill("--at", str(number), when):
            missed.append(point)
        tried.reap()
        problems += (found := [f"{point}: {each}" for each in tried.left()])
        tell(*found)
        assert tried.undisturbed(), point
    killed = f"killed at {len(chosen) - len(missed)} of {len(points)} points"
    tell(f"{tried.world.column}: {killed}, {len(problems)} problems, seed {SEED}")
    assert problems == [], "\n".join(problems)
    assert missed == [], "these were passed alive: they are reached in some runs only"


def test_what_is_killed_by_chance_is_reaped_and_nothing_else(tried):
    """At instants that nobody chose, calls that only read included."""
    share = range(COLUMNS.index(tried.world.column), INSTANTS, len(COLUMNS))
    chance = random.Random(f"{SEED}{tried.world.column}")
    problems = []
    for _ in share:
        after = chance.uniform(0, tried.seconds)
        while not tried.kill(after=after):  # it was faster than the one that nobody killed
            after = chance.uniform(0, after)
        tried.reap()
        problems += (found := [f"after {after:.3f} s: {each}" for each in tried.left()])
        tell(*found)
        assert tried.undisturbed(), after
    tell(f"{tried.world.column}: killed at {len(share)} instants, {len(problems)} problems, seed {SEED}")
    assert problems == [], "\n".join(problems)


def test_a_machine_that_libvirt_did_not_even_note_is_reaped(tried):
    """An instant that chance seldom meets: libvirt has made the places of a QEMU, and not noted that it will start."""
    if tried.world.column != "kvm":
        pytest.skip("of libvirt's embedded driver")

    def places() -> set[Path]:
        return {
            place
            for below in ("qemu", _CHANNELS)
            for place in tried.world.cache.glob(f"*/*/roots/*/lib/{below}/domain-*")
        }

    def unnoted() -> set[Path]:
        notes = "".join(note.read_text() for note in tried.world.cache.glob("*/*/roots/*/run/qemu/*.xml"))
        return {place for place in places() if f"/{place.name}'" not in notes}

    others = places()
    for _ in range(20):  # a kill that comes late finds the note there
        with tried.world.victim(tried.world.image()) as victim:
            while not places() - others:
                assert victim.poll() is None
            victim.kill()
        if met := unnoted() - others:
            break
        tried.reap()
    assert met
    tried.reap()
    assert tried.left() == []
    assert tried.undisturbed()


@pytest.mark.parametrize("alive", [True, False], ids=["its QEMU lives", "its QEMU is gone"])
def test_a_machine_that_libvirt_only_noted_to_start_is_reaped(tried, alive):
    """An instant that chance seldom meets: libvirt's note of a start is there, its QEMU's pid not yet in it."""
    world = tried.world
    if world.column != "kvm":
        pytest.skip("of libvirt's embedded driver")
    running = next(call["number"] for call in tried.trace if _POWER_ON.match(_said(call)))
    others = set(world.cache.rglob("roots/*/run/qemu/*.xml"))
    assert tried.kill("--at", str(running), AFTER)
    (status,) = set(world.cache.rglob("roots/*/run/qemu/*.xml")) - others
    noted = status.read_text()
    begun = re.sub("<domstatus .*?>", "<domstatus state='paused' reason='starting up' pid='0'>", noted, count=1)
    status.write_text(begun.replace("<qemuCaps>", "<job type='none' async='start' flags='0x5'/>\n<qemuCaps>", 1))
    assert status.read_text().count("async='start'") == 1
    if not alive:
        os.kill(int(status.with_suffix(".pid").read_text()), signal.SIGKILL)
    tried.reap()
    assert tried.left() == []
    assert tried.undisturbed()


def test_without_its_journal_the_hosts_own_marks_are_enough(tried):
    """A controller is gone with all it knew; another with the lab's key sees what it left, and removes it in time."""
    world, text = tried.world, tried.world.lab.read_text()
    if (world.state() / "twins").is_dir():  # where the host is, it knows
        shutil.copytree(world.state() / "twins", world.state("elsewhere") / "twins", dirs_exist_ok=True)
    running = next(call["number"] for call in tried.trace if _POWER_ON.match(_said(call)))
    world.lab.write_text(f"{text}limits: {{heartbeat: 2s, expiry: 12s}}\n")
    try:
        assert tried.kill("--at", str(running), AFTER)
    finally:
        world.lab.write_text(text)
    shown, there = world.interop("reap", "--dry-run", controller="elsewhere"), world.inventory()
    assert "its run is unknown here" in shown
    wait_for("marks to expire", lambda: _expired(world) or Pending("they have not"), Deadline.after(60), every=0.5)
    assert "would be removed" in world.interop("reap", "--dry-run", "--force-expired", controller="elsewhere")
    assert world.inventory() == there
    world.interop("reap", "--force-expired", controller="elsewhere")
    after = world.inventory()
    on_controller = [name for name in after.keys() - tried.before.keys() if "/slots/" not in name]
    assert on_controller == []
    assert tried.before.keys() - after.keys() == set()
    tried.reap()
    assert tried.left() == []
    assert tried.undisturbed()


def _expired(world: World) -> bool:
    ((last,),) = world.rows("SELECT max(expiry) FROM runs WHERE ended IS NULL AND expiry - started < 3600")
    return time.time() > last


_CHANNELS = "qemu/channel/target"
_UEFI = {"libvirt saveFlags", "libvirt restoreFlags"}
_UNMADE = {
    "kvm": {
        "libvirt createXML": "a volume, of hosts with a daemon",
        "libvirt upload": "a volume, of hosts with a daemon",
        **dict.fromkeys(_UEFI, "checkpoints of machines with UEFI: by night"),
    },
    "vsphere": {
        "CreateVM_Task": "a machine of an ESXi without a vCenter",
        "HttpNfcLeaseAbort": "takes away what an import that failed has made",
        "ResetVM_Task": "makes nothing",
    },
    "hyperv": {
        "Connect-VMNetworkAdapter": "makes nothing",
        "Copy-VMFile": "makes a file in the guest",
        "Debug-VM": "makes nothing",
        "Disconnect-VMNetworkAdapter": "makes nothing",
        "Enable-VMIntegrationService": "makes nothing",
        "Resize-VHD": "makes nothing",
        "Resume-VM": "makes nothing",
        "Set-VMFirmware": "a part of making a machine of generation 2",
        "Set-VMMemory": "makes nothing",
        "Set-VMProcessor": "makes nothing",
        "Suspend-VM": "makes nothing",
    },
}
"""What the victim does not do, and why."""
_POWER_ON = re.compile(r"libvirt create |PowerOnVM_Task |Start-InteropConsole Start-VM ")
_ONCE = re.compile(
    r"mkdir \S+/(runs|hosts|kvm-\w+|vsphere-\w+|hyperv-\w+|twins|switch|bin|base|roots/\d+|etc|machines|s|slots|roots"
    r"|store|stages|tmp|locks)$"
)
_KEPT = (
    (_ONCE, "a place that is made once and stays"),
    (
        re.compile(r"(open|replace) \S+/(etc/qemu\.conf|bin/\.?qemu-system\S*|switch/\w+)( .*)?$"),
        "the controller's own",
    ),
    (re.compile(r"(open|mkdir|unlink) \S+/shells(/\S+)?$"), "the note of a shell"),
    (re.compile(r"\w+ \S+/images/(store|tmp)/.*"), "the image store, which sweeps for itself"),
    (re.compile(r"CreateFolder .*<name[^>]*>interop</name>", re.DOTALL), "the lab's folder, made once"),
    (re.compile(r"(open_shell|run_command|close_shell) "), "a shell, which its host ends after two idle hours"),
    (re.compile(r"HasPrivilegeOnEntities "), "reads"),
)
"""What needs no entry, and why."""


def _said(call: dict) -> str:
    return f"{call['name']} {call['words']}"


def _covered(call: dict) -> bool:
    said = _said(call)
    if any(pattern.match(said) for pattern, _ in _KEPT):
        return True
    entries = call["entries"]
    if call["name"] == "Destroy_Task" and 'type="Folder"' in said:
        return bool(entries)  # it goes with its last machine, whose entry is struck out after it
    if "<snapshot" in said or 'type="VirtualMachineSnapshot"' in said:  # the host has names of its own for them
        entries = [entry for entry in entries if "/" in entry[0]]
        return bool(entries)
    return any(
        handle is None or handle[:_SOCKET] in said or all(part in said for part in name.split("/"))
        for name, handle in entries
    )


_SOCKET = 13
"""So much of a machine's UUID names its sockets."""
