"""Installing a release in a guest, and removing it: over ssh, from files that the controller brings.

A guest has no way out, so nothing here needs a network; and never do the services under test carry a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from harness.core import Deadline, GuestError, UsageError
from harness.guest import Guest
from harness.lab.releases.load import Release, Which
from harness.lab.releases.models import Side
from harness.lab.releases.preparing import Payload, Prepared
from harness.lab.releases.seen import NONE, Seen, must_change, see

_FOLDER = "/var/tmp/interop-release"  # noqa: S108  on the guest's disk: /tmp may be memory

# Whoever installs services by hand has a terminal; this has none, so nothing may ask. Changed settings are kept.
_QUIET = ("env", "DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "PAGER=cat")
_DPKG = (*_QUIET, "dpkg", "--force-confdef", "--force-confold")
_NAMES = {
    ".deb": ("dpkg-deb", "--show", "--showformat", "${Package} ${Version}\\n"),
    ".rpm": ("rpm", "--query", "--package", "--queryformat", "%{NAME} %{VERSION}-%{RELEASE}\\n"),
}

_UNPACK = """set -e
mkdir -p "$1/unpacked"
tar -x -f "$2" -C "$1/unpacked"
cd "$1/unpacked"
shift 2
# An archive with one folder at its top is unpacked into that, as most are.
if [ "$(ls -A | wc -l)" = 1 ] && [ -d "$(ls -A)" ]; then cd "$(ls -A)"; fi
exec "$@"
"""

# GRUB as images built here have it names one kernel; grubby (RHEL, Fedora, SUSE) chooses among entries. Elsewhere the
# package's own hooks have made the newest the default, and `uname -r` tells whether that was right.
_CHOOSE_KERNEL = r"""set -e
[ -e "/boot/vmlinuz-$1" ] || { echo "there is no /boot/vmlinuz-$1" >&2; exit 1; }
if command -v grubby >/dev/null; then
    grubby --set-default "/boot/vmlinuz-$1"
elif ! command -v update-grub >/dev/null && grep -q '^linux /boot/vmlinuz-' /boot/grub/grub.cfg 2>/dev/null; then
    [ -e "/boot/initrd.img-$1" ] || { echo "there is no /boot/initrd.img-$1" >&2; exit 1; }
    sed -i -e "s#^linux /boot/vmlinuz-[^ ]*#linux /boot/vmlinuz-$1#" \
        -e "s#^initrd /boot/initrd.img-.*#initrd /boot/initrd.img-$1#" /boot/grub/grub.cfg
fi
sync
"""


class InstallFailed(GuestError):
    """A release did not install, or did not go: what its packages or script said is in the message."""


class Unchanged(UsageError):
    """What was installed is not what the release file says: a mislabelled or empty release, which is no pass."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What a guest had, and has now.

    Args:
        release: as ``--release`` takes it.
        side: which.
        digest: of what was installed.
        before: versions in the image.
        after: versions of the side under test.
        baseline: for a candidate, versions on the baseline in between.
    """

    release: str
    side: str
    digest: str
    before: Seen
    after: Seen
    baseline: Seen = field(default_factory=dict)


def bring(guest: Guest, prepared: Prepared, deadline: Deadline) -> Installed:
    """Make a guest of the image one of the release: the baseline, and for the candidate that over it.

    So do those who will get the candidate, and what must change is seen to change in one and the same guest.

    Raises:
        InstallFailed: a side did not install.
        Unchanged: it did, and is not what it should be.
        GuestError: the guest was lost.
    """
    release, which = prepared.release, prepared.which
    word = release.word(which)
    before = see(guest, release)
    if prepared.image:
        return Installed(word, which, prepared.digest, before, before)
    after = install(guest, prepared, Which.BASELINE, deadline)
    baseline: Seen = {}
    if which is Which.CANDIDATE:
        baseline, after = after, install(guest, prepared, Which.CANDIDATE, deadline)
        same = unchanged(release, baseline, after)
        if same:
            raise Unchanged(
                f"{release.path}: the candidate is installed, and is as the baseline: {'; '.join(same)}",
                operation="install release",
                hint="it is mislabelled, its service was not started again, or must_change names what never changes",
            )
    return Installed(word, which, prepared.digest, before, after, baseline)


def unchanged(release: Release, baseline: Seen, candidate: Seen) -> list[str]:
    """What must change and did not, in words; what is there on neither side did not either."""
    found = []
    for name in must_change(release):
        old, new = baseline.get(name, NONE), candidate.get(name, NONE)
        if old == new:
            found.append(f"{name} is {new} on both sides")
    return found


def install(guest: Guest, prepared: Prepared, which: Which, deadline: Deadline) -> Seen:
    """Install one side over whatever there is, and see that it is there.

    Returns:
        The versions seen afterwards.

    Raises:
        InstallFailed: packages or script refused, or failed.
        Unchanged: they did not, and another version than the file's is there.
        GuestError: the guest was lost, or did not come back from a reboot.
    """
    release, side = prepared.release, prepared.release.side(which)
    word = release.word(which) if which is not Which.CANDIDATE else release.name
    with _carried(guest, prepared.payloads[which], deadline) as files:
        wanted = dict(_packages(guest, side, prepared.payloads[which], files))
        if side.tarball:
            _do(guest, word, ["sh", "-c", _UNPACK, "-", _FOLDER, files[0], *side.tarball.install], deadline)
        elif files[0].endswith(".rpm"):
            _do(guest, word, [*_QUIET, "rpm", "--upgrade", "--oldpackage", "--replacepkgs", *files], deadline)
        else:
            _do(guest, word, [*_DPKG, "--install", *files], deadline)
    for package, version in wanted.items():
        seen = guest.services.version(package)
        if seen != version:
            raise Unchanged(
                f"{release.path}: {word} was installed, and {package} is {seen or 'not there'}, not {version}",
                operation="install release",
            )
    if side.kernel or side.reboot:
        reboot(guest, side.kernel, deadline)
        running = guest.kernel.version()
        if side.kernel and running != side.kernel:
            raise Unchanged(
                f"{release.path}: {word} was installed and booted, and {running} runs, not {side.kernel}",
                operation="install release",
                hint="the boot loader starts another kernel, or `kernel` names a wrong one",
            )
    return see(guest, release)


def remove(
    guest: Guest, prepared: Prepared, which: Which, deadline: Deadline, *, kernel: str | None = None
) -> tuple[str, ...]:
    """Remove one side with its settings.

    Args:
        guest: where it is installed, or where the image carries these packages.
        prepared: the release.
        which: the side; of packages, those that it names.
        deadline: when to give up.
        kernel: for a side that brings one: the kernel that is booted first, since none can go while it runs.

    Returns:
        The packages that it had and that are gone.

    Raises:
        InstallFailed: it would not go.
        GuestError: the guest was lost.
    """
    side = prepared.release.side(which)
    word = prepared.release.word(which)
    if side.kernel and kernel and guest.kernel.version() != kernel:
        reboot(guest, kernel, deadline)
    with _carried(guest, prepared.payloads[which], deadline) as files:
        if side.tarball:
            _do(guest, word, ["sh", "-c", _UNPACK, "-", _FOLDER, files[0], *side.tarball.remove], deadline)
            return ()
        named = _packages(guest, side, prepared.payloads[which], files)
    names = tuple(name for name, _ in named if guest.services.version(name))
    if names:
        rpm = any(file.endswith(".rpm") for file in files)
        _do(guest, word, [*_QUIET, "rpm", "--erase", *names] if rpm else [*_DPKG, "--purge", *names], deadline)
    return names


def reboot(guest: Guest, kernel: str | None, deadline: Deadline) -> None:
    """Boot a guest again from within, and wait for its new boot id.

    Args:
        guest: which.
        kernel: the kernel to choose for it; None: whatever the boot loader starts.
        deadline: when to give up.

    Raises:
        InstallFailed: there is no such kernel.
        GuestError: it did not come back.
    """
    if kernel:
        _do(guest, kernel, ["sh", "-c", _CHOOSE_KERNEL, "-", kernel], deadline)
    old = guest.boot_id
    guest.run(["systemctl", "--no-block", "reboot"])
    guest.reboot_seen(old, deadline)


@contextmanager
def _carried(guest: Guest, payloads: Sequence[Payload], deadline: Deadline) -> Iterator[list[str]]:
    """The files in the guest for a while; what arrived is what was pinned."""
    files = [f"{_FOLDER}/{payload.name}" for payload in payloads]
    try:
        for payload, file in zip(payloads, files, strict=True):
            left = timedelta(seconds=deadline.seconds)
            guest.files.write(file, payload.path.read_bytes(), mode=0o600, timeout=left)
            arrived = guest.files.sha256(file)
            if arrived != payload.sha256:
                raise GuestError(f"{guest.name}: {file} arrived with sha256 {arrived}, not {payload.sha256}")
        yield files
    finally:
        guest.files.remove(_FOLDER)


def _packages(guest: Guest, side: Side, payloads: Sequence[Payload], files: Sequence[str]) -> list[tuple[str, str]]:
    """Names and versions of a side's packages, as the files themselves say."""
    if side.tarball:
        return []
    found = []
    for payload, file in zip(payloads, files, strict=True):
        done = guest.run([*_NAMES[file[-4:]], file], check=False)
        name, _, version = done.text.strip().partition(" ")
        if not done.ok or not version:
            said = done.stderr[-500:].decode("utf-8", "backslashreplace").strip()
            raise InstallFailed(f"{guest.name}: {payload.name} is no package that this guest can read: {said}")
        if payload.package and payload.package != (name, version):
            raise Unchanged(f"{payload.name} holds {name} {version}, not {' '.join(payload.package)}")
        found.append((name, version))
    return found


def _do(guest: Guest, what: str, argv: Sequence[str], deadline: Deadline) -> None:
    done = guest.run(argv, timeout=timedelta(seconds=deadline.seconds), check=False)
    if not done.ok:
        # Both streams: dpkg complains on one of what its scripts say on the other.
        said = b"\n".join(part.strip()[-1500:] for part in (done.stdout, done.stderr) if part.strip())
        shown = [word for word in argv if "\n" not in word and not word.startswith("DEB")]
        raise InstallFailed(
            f"{what}: `{' '.join(shown)[:200]}` ended with {done.status}:\n{said.decode('utf-8', 'backslashreplace')}",
            host=guest.hypervisor.name,
            operation="install release",
        )
