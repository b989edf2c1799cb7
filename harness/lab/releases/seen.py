"""What a guest says it has: the versions that tell whether a release is installed, read in one command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from harness.core import GuestError
from harness.guest import Guest
from harness.lab.releases.load import Release

Seen: TypeAlias = Mapping[str, str]
"""Versions by what they are of: ``package qemu-guest-agent``, ``service ...``, ``module ...``, ``kernel``."""

NONE = "none"
"""Stands for what a guest does not have."""

# Pairs of kind and name; one line each. A service's version is what its main process runs: /proc/PID/exe is the old
# file as long as the old process lives, whatever was installed meanwhile. Where nothing runs, the file that would be
# started counts; of a script, both. A module's is the build id of what is loaded (kernel, Documentation/ABI/testing/
# sysfs-module: notes), or the file that would be.
_SCRIPT = r"""
sum() { sha256sum | cut -c1-16; }
while [ $# -gt 1 ]; do
    kind=$1 name=$2 seen=
    shift 2
    case $kind in
    package)
        if command -v dpkg-query >/dev/null; then
            seen=$(dpkg-query --show --showformat '${db:Status-Status} ${Version}\n' "$name" 2>/dev/null |
                sed -n 's/^installed //p' | tail -n 1)
        fi
        if [ -z "$seen" ] && command -v rpm >/dev/null && rpm --query --quiet "$name" 2>/dev/null; then
            seen=$(rpm --query --queryformat '%{VERSION}-%{RELEASE}\n' "$name" | tail -n 1)
        fi ;;
    service)
        for unit in $name; do
            file=$(systemctl show --property ExecStart --value -- "$unit" 2>/dev/null |
                sed -n 's/^{ path=\([^ ]*\) .*/\1/p' | tail -n 1)
            [ -n "$file" ] && [ -e "$file" ] || continue
            file=$(readlink -f "$file")
            pid=$(systemctl show --property MainPID --value -- "$unit" 2>/dev/null)
            case $pid in
            ''|0) seen="file $(sum <"$file")" ;;
            *)
                program=$(readlink "/proc/$pid/exe")
                case ${program% (deleted)} in
                "$file") seen="program $(sum <"/proc/$pid/exe")" ;;
                *) seen="script $(sum <"$file") run by $(sum <"/proc/$pid/exe")" ;;
                esac ;;
            esac
            break
        done ;;
    module)
        if [ -e "/sys/module/$name/notes/.note.gnu.build-id" ]; then
            seen="loaded $(sum <"/sys/module/$name/notes/.note.gnu.build-id")"
        else
            file=$(modinfo --field filename "$name" 2>/dev/null)
            case $file in
            /*) seen="file $(sum <"$file")" ;;
            '(builtin)') seen="built in $(uname -r)" ;;
            esac
        fi ;;
    kernel) seen=$(uname -rv) ;;
    esac
    printf '%s\n' "${seen:-none}"
done
"""


def questions(release: Release) -> list[tuple[str, str]]:
    """What of a guest tells its version: everything that must change, what the file installs, and the kernel."""
    change = release.must_change
    named = [package.name for side in (release.baseline, release.candidate) for package in side.packages]
    asked = [("package", name) for name in (*change.packages, *named)]
    asked += [("service", name) for name in (*change.services, *release.services)]
    asked += [("module", name) for name in change.modules]
    return list(dict.fromkeys([*asked, ("kernel", "")]))


def see(guest: Guest, release: Release, more: Sequence[tuple[str, str]] = ()) -> Seen:
    """Read the versions now.

    Args:
        guest: whose.
        release: what is of interest.
        more: further questions: kind and name.

    Raises:
        GuestError: it did not answer.
    """
    asked = [*questions(release), *more]
    words = [word for pair in asked for word in pair]
    answers = guest.run(["sh", "-c", _SCRIPT, "-", *words]).lines
    if len(answers) != len(asked):
        raise GuestError(f"{guest.name}: asked for {len(asked)} versions, it told {len(answers)}", operation="release")
    return {word_of(*pair): answer[:200] for pair, answer in zip(asked, answers, strict=True)}


def word_of(kind: str, name: str) -> str:
    """How a thing with a version is called in records."""
    return f"{kind} {name.split(maxsplit=1)[0]}" if name else kind


def must_change(release: Release) -> list[str]:
    """What must change, as records call it."""
    change = release.must_change
    pairs = [("package", name) for name in change.packages]
    pairs += [("service", name) for name in change.services]
    pairs += [("module", name) for name in change.modules]
    pairs += [("kernel", "")] if change.kernel else []
    return [word_of(*pair) for pair in pairs]
