"""What a planted defect is, and scripts that several are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ImageDefect:
    """One thing that is wrong with an image.

    Args:
        checks: the numbers of the checks that share its cause: these fail, and no other of the tests that run.
        words: what is wrong, for the table in the documentation.
        kernel_arguments: added to the kernel's command line.
        files: content by path.
        tests: the test functions that run; empty: those that only read.
    """

    checks: frozenset[str]
    words: str
    kernel_arguments: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a guest.

    Args:
        check: the number of the check that must fail.
        test: the name of its test function.
        words: what is wrong, for the table in the documentation.
        script: makes it so: a shell script that root runs in the guest before the check begins.
        host: the host of the local lab on which the check runs.
        plan: what the twin of that host does wrong meanwhile (``harness/twins/hyperv/plan.py``).
        firmware: the guest's.
        apart: what is different of the spoilt guest's shape, where the twin does wrong in making it: one of a shape
            that nobody else asks for is made while that goes wrong.
    """

    check: str
    test: str
    words: str
    script: str
    host: str = "kvm"
    plan: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)  # a plan's steps are no keys
    firmware: str = "bios"
    apart: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class RecordedDefect:
    """One thing that is wrong with what a guest showed, where no host here can show it at all.

    Args:
        check: the number of the check that must fail.
        words: what is wrong, for the table in the documentation.
        shows: what the recorded guest shows in place of what a sound one does.
        said: a regular expression that the failure's message holds.
        also: the numbers of other checks that share its cause.
    """

    check: str
    words: str
    shows: Mapping[str, Any]
    said: str
    also: frozenset[str] = frozenset()

    @property
    def shared(self) -> frozenset[str]:
        """Every check that must fail."""
        return self.also | {self.check}


def instead(program: str, text: str) -> str:
    """A script that puts a shell script in the place of a program, for all who ask for it by its name or path."""
    lines = ("cat > /root/instead <<'EOF'", "#!/bin/sh", text, "EOF", "chmod 755 /root/instead")
    return "\n".join([*lines, f"mount --bind /root/instead {program}"])


def drop_in(unit: str, settings: str) -> str:
    """A script that changes settings of a service, and starts it anew with them."""
    folder = f"/run/systemd/system/{unit}.d"
    lines = ("set -e", f"mkdir -p {folder}", f"cat >{folder}/defect.conf <<'EOF'", "[Service]", settings, "EOF")
    return "\n".join([*lines, "systemctl daemon-reload", f"systemctl restart {unit}"])


# A file of the kernel that shows for ever what it shows now, but for a change by sed(1).
FROZEN = "sed '{change}' {path} > /run/interop-frozen && mount --bind /run/interop-frozen {path}"
