"""Where packages come from: this machine's own apt sources, in both of their formats."""

from pathlib import Path

import pytest

from harness.image.debian_sources import sources_for

DEB822 = """\
# a comment
Types: deb deb-src
URIs: https://mirror.example/debian
Suites: bookworm bookworm-updates trixie
Components: main contrib
Signed-By: /usr/share/keyrings/some.gpg

Types: deb
URIs: https://mirror.example/debian-security
Suites: bookworm-security
Components: main
Enabled: no

Types: deb
URIs: https://vendor.example/tools
Suites: stable
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_only_the_suite_and_its_updates_are_taken(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert sources_for("bookworm", apt) == (
        "Types: deb\nUris: https://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/some.gpg\n"
    )


def test_the_one_line_format_is_read_too(apt: Path) -> None:
    (apt / "sources.list").write_text(
        "# deb https://old.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian bookworm main contrib\n"
        "deb-src https://mirror.example/debian bookworm main\n"
    )
    assert sources_for("bookworm", apt) == (
        "Types: deb\nUris: https://mirror.example/debian\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n"
    )


def test_a_key_inside_the_stanza_is_kept(apt: Path) -> None:
    stanza = "Types: deb\nURIs: https://m.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n"
    (apt / "sources.list.d" / "debian.sources").write_text(stanza + " -----BEGIN\n .\n x\n")
    assert "Signed-By: \n -----BEGIN\n .\n x\n" in str(sources_for("bookworm", apt))


def test_a_machine_of_another_release_lends_its_mirror(apt: Path) -> None:
    (apt / "sources.list").write_text("deb https://mirror.example/debian trixie main\n")
    assert "Uris: https://mirror.example/debian\nSuites: bookworm\n" in str(sources_for("bookworm", apt))


def test_without_any_debian_source_the_tools_own_default_serves(apt: Path) -> None:
    (apt / "sources.list").write_text("deb https://vendor.example/tools stable main\n")
    assert sources_for("bookworm", apt) is None
