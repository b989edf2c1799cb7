"""Whether a Windows host has what runs need: rights, switches, a folder to write into, room, a way back to us.

Every lack comes with the one command that cures it, for a PowerShell of an administrator on the host;
``docs/hyperv-host.md`` explains each.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Generator, Iterable, Iterator

from harness.backends.check import Remark
from harness.backends.hyperv import marks
from harness.backends.hyperv.access import NO_FILE, HostAccess
from harness.backends.hyperv.errors import Gone, NoRight, failed_step
from harness.backends.hyperv.evidence import LOGS
from harness.backends.hyperv.offer import offered
from harness.backends.hyperv.settings import Settings
from harness.backends.hyperv.steps import Masked, Step, Value, seconds
from harness.backends.model import NetworkKind, NetworkSpec
from harness.backends.views import ResourceKind
from harness.core import Deadline, GiB, InteropError, LabError, Size
from harness.core.config import nearest

ROOM = Size(20 * GiB)
"""An image, its clones' growth and a memory checkpoint each, for a handful of guests."""
_ASTRAY = 5.0
"""Seconds between two clocks that nobody keeps right; tickets of Kerberos stand 300."""
_FETCH_SECONDS = 30
_CLEANING_SECONDS = 30.0
_UNWRITABLE = (
    "NewItemUnauthorizedAccessError",
    "CreateDirectoryUnauthorizedAccessError",
    "NewItemIOError",
    "CreateDirectoryIOError",
    "UnauthorizedAccessException",
    "IOException",
)
"""Error ids of ``New-Item`` where it may not, or cannot, write."""
_TRUE = ((".", "^True$"),)
_FALSE = ((".", "^False$"),)


def examine(host: HostAccess, networks: Iterable[NetworkSpec], deadline: Deadline) -> Iterator[Remark]:
    """Everything that can be seen; nothing stays changed. A file that is made is removed in the same request, and so is
    the folder of images where there was none.

    A request each for what may fail for a reason of its own: the looks, the volume, the way back to us.

    Args:
        host: the host, which has answered to ``Get-VMHost`` already.
        networks: those that the lab plugs guests into, the one of their first NIC first.
        deadline: when to give up.
    """
    yield Remark("account", f"{_account(host.settings)[0]} may open shells and use Hyper-V")
    probe = marks.name(f"check-{secrets.token_hex(3)}", host.owner)  # half an upload, should we die in the middle
    with host.ledger.creating(ResourceKind.IMAGE, probe) as creation:
        creation.made(probe)
        gone = yield from _examined(host, networks, probe, deadline)
    if gone:
        host.ledger.gone(ResourceKind.IMAGE, probe)


def cure(error: InteropError, settings: Settings) -> str | None:
    """What to do where a host that was reached does not even say what it is; None: what the error says.

    Args:
        error: why ``Get-VMHost`` failed.
        settings: of the host.
    """
    if isinstance(error, NoRight) and failed_step(error) is not None:  # a refused login says itself what to look at
        return _joined(settings, "S-1-5-32-578", "Hyper-V Administrators")
    if isinstance(error, Gone):  # what the module says where no Virtual Machine Management service runs
        return (
            "Install-WindowsFeature -Name Hyper-V -IncludeManagementTools -Restart; where it is installed, "
            "Start-Service -Name vmms"
        )
    return None


def clock(ahead: float) -> Remark:
    """How far the host's clock is ahead of ours, in seconds."""
    text = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this controller's"
    if abs(ahead) > _ASTRAY:
        return Remark("clock", text, None, "w32tm /resync; or is it this controller's that is wrong?")
    return Remark("clock", text)


def events(host: HostAccess, deadline: Deadline) -> Remark:
    """Whether the account may read Hyper-V's logs: what they say of a machine is evidence of a test that failed."""
    asked: dict[str, Value] = {"FilterHashtable": {"LogName": LOGS}, "MaxEvents": 1}
    look = Step("Get-WinEvent", asked, get=("Id",), allow=("NoMatchingEventsFound",))
    try:
        host.agents.run("check", [look], deadline, repeatable=True)
    except InteropError as error:
        if failed_step(error) is None:  # the connection, or the time: no right is missing
            raise
        cured = _joined(host.settings, "S-1-5-32-573", "Event Log Readers")
        return Remark("events", f"Hyper-V's logs cannot be read: {error.message}", None, cured)
    return Remark("events", "Hyper-V's logs can be read")


def _examined(
    host: HostAccess, networks: Iterable[NetworkSpec], probe: str, deadline: Deadline
) -> Generator[Remark, None, bool]:
    """All but the account; whether ``probe`` is gone again."""
    before = time.time()
    seen = host.agents.run("check", [*_looks(host, probe)], deadline)
    switches, drive, store, bare, _, _, written, now, *_ = seen
    spent = time.time() - before
    names = {str(row["Name"]) for row in switches}
    for at, network in enumerate(networks):
        yield _switch(network, names, first=at == 0)
    yield _folder(host, there=bool(store), drive=bool(drive), writable=bool(written))
    yield _space(host, there=bool(store), deadline=deadline)
    yield clock(seconds(str(now[0]["."])) - before - spent / 2)
    yield events(host, deadline)
    if host.settings.pull is None:
        return True
    if not written:
        yield Remark("pull", "could not be found out: there is no folder to fetch into", None)
        return True
    return (yield from _way_back(host, host.settings.pull, probe, deadline, bare=bool(bare)))


def _looks(host: HostAccess, probe: str) -> Iterator[Step]:
    store = host.settings.path()
    images = str(host.settings.path("images"))
    path = str(host.settings.path("images", probe))
    yield Step("Get-VMSwitch", get=("Name",))
    yield Step("Test-Path", {"LiteralPath": store.anchor}, get=(".",), where=_TRUE)
    there: dict[str, Value] = {"LiteralPath": str(store), "PathType": "Container"}
    yield Step("Test-Path", there, name="store", get=(".",), where=_TRUE)
    yield Step("Test-Path", {"LiteralPath": images}, name="bare", get=(".",), where=_FALSE, when="store")
    yield _folder_of_images(host).only("bare")
    yield Step("Test-Path", {"LiteralPath": images}, name="images", get=(".",), where=_TRUE, when="store")
    file: dict[str, Value] = {"Path": path, "ItemType": "File"}
    yield Step("New-Item", file, name="probe", get=("Name",), when="images", allow=_UNWRITABLE)
    yield Step("Get-Date", name="now", get=(".",))
    yield from _tidied(host, probe, made="made", when="probe")


def _folder_of_images(host: HostAccess) -> Step:
    """Make it, as a run does."""
    asked: dict[str, Value] = {"Path": str(host.settings.path("images")), "ItemType": "Directory", "Force": True}
    return Step("New-Item", asked, name="made", allow=_UNWRITABLE)


def _tidied(host: HostAccess, probe: str, *, made: str | None, when: str | None = None) -> Iterator[Step]:
    """Remove the small file, and the folder of images where it was made for it and nobody uses it yet.

    Args:
        host: where.
        probe: the name of the file.
        made: the step that made the folder; None: it was there.
        when: the step that made the file; None: it may be there or not.
    """
    images = str(host.settings.path("images"))
    file: dict[str, Value] = {"LiteralPath": str(host.settings.path("images", probe)), "Force": True}
    yield Step("Remove-Item", file, when=when, allow=NO_FILE)
    if made is not None:
        yield Step("Get-ChildItem", {"LiteralPath": images, "Force": True}, name="used", when=made, allow=NO_FILE)
        yield Step("Remove-Item", {"LiteralPath": images}, when=made, unless="used", allow=NO_FILE)


def _switch(network: NetworkSpec, names: set[str], *, first: bool) -> Remark:
    subject = f"network {network.name}"
    if network.kind not in (NetworkKind.NETWORK, NetworkKind.SWITCH) or not network.source:
        text = f"is a {network.kind.value} without a virtual switch"
        return Remark(subject, text, False, "write `kind: network`, and the switch's name as `source:`")
    if network.source.lower() in {name.lower() for name in names}:
        return Remark(subject, f"the virtual switch {network.source}")
    text = f"the host has no virtual switch {network.source!r}{nearest(network.source, names)}"
    # Guests are reached on the first; on the others they meet each other alone.
    kind = "-NetAdapterName 'Ethernet' # the adapter: Get-NetAdapter" if first else "-SwitchType Private"
    return Remark(subject, text, False, f"New-VMSwitch -Name {_quoted(network.source)} {kind}")


def _folder(host: HostAccess, *, there: bool, drive: bool, writable: bool) -> Remark:
    store = host.settings.path()
    if writable:
        return Remark("folder", f"{store} can be written")
    path = _quoted(str(store))
    if there:
        account, known = _account(host.settings)
        cured = f"icacls {path} /grant {_quoted(f'{account}:(OI)(CI)M')}" if known else f"let {account} write there"
        return Remark("folder", f"{store} cannot be written by {account}", False, cured)
    if not drive:
        return Remark("folder", f"the host has no {store.anchor}", False, "name a folder it has under `store:`")
    cured = f"New-Item -ItemType Directory -Path {path}"
    return Remark("folder", f"{store} is not there: the first run makes it, if the account may", None, cured)


def _space(host: HostAccess, *, there: bool, deadline: Deadline) -> Remark:
    store = host.settings.path()
    place = str(store if there else store.anchor)
    look = Step("Get-Volume", {"FilePath": place}, get=("SizeRemaining", "Size"))
    try:
        rows = host.agents.run("check", [look], deadline, repeatable=True)[0]
    except InteropError as error:
        if failed_step(error) is None:
            raise
        return Remark("space", f"could not be found out: {error.message}", None)
    if not rows:
        return Remark("space", f"could not be found out: {place} is on no volume", None)
    free, size = Size(int(rows[0]["SizeRemaining"])), Size(int(rows[0]["Size"]))
    text = f"{free} of {size} free on the volume of {place}"
    if free < ROOM:
        cured = "`interop reap` removes leftovers, or name a folder on another volume under `store:`"
        return Remark("space", f"{text}; runs want {ROOM}", False, cured)
    return Remark("space", text)


def _way_back(
    host: HostAccess, pull: str, probe: str, deadline: Deadline, *, bare: bool
) -> Generator[Remark, None, bool]:
    """A small file goes the way that images go, and is removed in the same request; whether it is gone again.

    Args:
        host: where.
        pull: by which address it reaches us.
        probe: the name of the file there.
        deadline: when to give up.
        bare: whether there is no folder of images yet.
    """
    text = secrets.token_bytes(4096)
    source = host.scratch / probe
    with contextlib.ExitStack() as stack:
        source.write_bytes(text)
        stack.callback(source.unlink)
        try:
            offer = stack.enter_context(offered(source, pull, host.name))
        except LabError as error:
            yield Remark("pull", error.message, False, error.hint or "")
            return True
        asked: dict[str, Value] = {
            "Uri": Masked(offer.url),
            "Token": Masked(offer.token),
            "Path": str(host.settings.path("images", probe)),
            "Seconds": _FETCH_SECONDS,
        }
        fetch = Step("Receive-InteropFile", asked, get=("Sha256",))
        steps = [_folder_of_images(host), fetch] if bare else [fetch]
        at, tidy = len(steps) - 1, _tidied(host, probe, made="made" if bare else None)
        try:
            answer = host.agents.run("check", [*steps, *tidy], deadline)
        except InteropError as error:
            gone, step = _discarded(host, probe, bare=bare), failed_step(error)
            if step is None:
                raise
            if step > at:
                said = f"the host fetches from {pull}, and does not let go of the file: {error.message}"
                yield Remark("pull", said, False, error.hint or "")
                return gone
            cured = "let the host connect to this controller: open the port of `pull: ADDRESS:PORT` in the firewalls"
            yield Remark("pull", f"the host fetches nothing from {pull}: {error.message}", False, error.hint or cured)
            return gone
    if str(answer[at][0]["Sha256"]).lower() != hashlib.sha256(text).hexdigest():
        said = f"what the host fetches from {pull} is not what was sent"
        yield Remark("pull", said, False, "is a proxy in between?")
    else:
        yield Remark("pull", f"the host fetches from {pull}")
    return True


def _discarded(host: HostAccess, probe: str, *, bare: bool) -> bool:
    """Remove what an attempt to fetch left; False where the host does not let us: the journal knows of it."""
    there: dict[str, Value] = {"LiteralPath": str(host.settings.path("images"))}
    made = Step("Test-Path", there, name="made", where=_TRUE)
    steps = [made, *_tidied(host, probe, made="made")] if bare else [*_tidied(host, probe, made=None)]
    try:
        host.agents.run("check", steps, Deadline.after(_CLEANING_SECONDS), repeatable=True)
    except InteropError:
        return False
    return True


def _joined(settings: Settings, sid: str, group: str) -> str:
    """What makes the account a member of a group of the host's: a command, where its name is known."""
    account, known = _account(settings)
    return (
        f"Add-LocalGroupMember -SID {sid} -Member {_quoted(account)}"
        if known
        else f"{account} must be in the host's group {group} ({sid})"
    )


def _account(settings: Settings) -> tuple[str, bool]:
    """The account, and whether that is its name: of a certificate's, the host alone knows which it is."""
    return (settings.user, True) if settings.user else ("the account that the certificate is mapped to", False)


def _quoted(text: str) -> str:
    """A text as a word of PowerShell."""
    return "'" + text.replace("'", "''") + "'"
