"""Packages that announce something to the harness, as pip leaves them: without pip, in a folder of a test's own."""

from __future__ import annotations

from pathlib import Path


def announce(place: Path, package: str, text: str) -> None:
    """Write the metadata of a package whose modules lie in ``place``; it counts where that folder is on Python's path.

    Args:
        place: the folder.
        package: its name.
        text: what its ``entry_points.txt`` says.
    """
    info = place / f"{package.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(text)
