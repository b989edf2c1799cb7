"""Releases as rpm packages, by rpm itself in a real guest: a sound one passes I31, a spoilt one fails it.

No distribution of rpm's is at hand, so Debian's guest gets rpm as well, as a mere tool whose books are empty at first.
By night alone (``INTEROP_DEFECTS=all``).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.releasing import i31, pinned
from tests.end_to_end.telling import EVERY, SUITES

pytestmark = pytest.mark.skipif(not EVERY, reason="by night: INTEROP_DEFECTS=all")
RECIPE = SUITES.parent / "configs/images/debian12.yaml"
# Scripts in rpm's own language: nothing in its books provides /bin/sh in this guest.
SPEC = """
Name: acme-agent
Version: {version}
Release: 1
Summary: A service that sleeps
License: none
BuildArch: noarch
AutoReqProv: no

%description
Nothing but a service.

%install
mkdir -p %{{buildroot}}/usr/libexec %{{buildroot}}/usr/lib/systemd/system
printf '%s\\n' '#!/bin/sh' '# {version}' 'exec sleep infinity' > %{{buildroot}}/usr/libexec/acme-agent
printf '%s\\n' '[Service]' 'ExecStart=/usr/libexec/acme-agent' '[Install]' 'WantedBy=multi-user.target' \\
    > %{{buildroot}}/usr/lib/systemd/system/acme-agent.service

%files
%attr(755, root, root) /usr/libexec/acme-agent
%attr(644, root, root) /usr/lib/systemd/system/acme-agent.service

%post -p <lua>
os.execute("systemctl daemon-reload; systemctl enable --quiet acme-agent; systemctl restart acme-agent; {more}")

%preun -p <lua>
if tonumber(arg[2]) == 0 then
    os.execute("systemctl disable --quiet --now acme-agent")
end

%postun -p <lua>
os.execute("systemctl daemon-reload")
"""


@pytest.fixture(scope="session")
def with_rpm(tmp_path_factory) -> Path:
    """The recipe of an image that has rpm besides."""
    text, mark = RECIPE.read_text(), "    - procps\n"
    assert text.count(mark) == 1
    # Debian's keeps its books in the home of whoever calls it; everybody else's does there.
    books = "    - {path: /etc/rpm/macros.books, content: '%_dbpath /var/lib/rpm'}\n"
    recipe = tmp_path_factory.mktemp("rpm") / "debian12-rpm.yaml"
    recipe.write_text(text.replace(mark, f"{mark}    - rpm\n").replace("\n  files:\n", f"\n  files:\n{books}"))
    return recipe


@pytest.fixture
def release(tmp_path) -> Callable[..., Path]:
    """Makes the file of a release from 1.0 to a candidate, built here by rpmbuild."""

    def build(version: str, more: str = "true") -> None:
        spec = tmp_path / f"{version}.spec"
        spec.write_text(SPEC.format(version=version, more=more))
        made = tmp_path / "made"
        subprocess.run(
            ["rpmbuild", "-bb", "--define", f"_topdir {made}", "--define", f"_rpmdir {tmp_path}", spec],
            check=True,
            capture_output=True,
        )

    def make(version: str, more: str = "true") -> Path:
        build("1.0")
        build(version, more)
        file = tmp_path / "acme.yaml"
        file.write_text(
            "hosts: [kvm]\nservices: [acme-agent.service]\n"
            "baseline: {files: [{path: noarch/acme-agent-1.0-1.noarch.rpm}]}\n"
            f"candidate: {{files: [{{path: noarch/acme-agent-{version}-1.noarch.rpm}}]}}\n"
            "must_change: {packages: [acme-agent], services: [acme-agent.service]}\n"
        )
        return pinned(file)

    return make


def test_a_sound_release_passes_i31(run, release, with_rpm):
    """Installed, upgraded, downgraded and removed."""
    done = i31(run, release("1.1"), image=str(with_rpm))
    assert done.of("I31") == ["passed"] * 4, done.output


def test_what_stays_behind_is_found(run, release, with_rpm):
    """A file that no package owns."""
    done = i31(run, release("1.2", more="touch /etc/forgotten"), "removed", image=str(with_rpm))
    assert done.of("I31") == ["failed"], done.output
    assert "left behind: file: /etc/forgotten" in done.output
