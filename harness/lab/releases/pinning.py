"""Writing pins into a release file, with its comments and order kept."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from ruamel.yaml import YAML

from harness.core.config import complaint, read_text
from harness.lab.releases.load import Release
from harness.lab.releases.preparing import Pin


def write_pins(release: Release, found: Iterable[Pin], *, replace: bool = False) -> list[str]:
    """Put missing hashes into the release's file.

    Args:
        release: whose file.
        found: of :func:`~harness.lab.releases.preparing.pins`.
        replace: whether wrong ones are replaced as well.

    Returns:
        A line for each that was written.

    Raises:
        UsageError: what a hash is wanted of cannot be had; or one is wrong, without ``replace``. Nothing is written.
    """
    writer = YAML(typ="rt")
    writer.width = 4096
    writer.preserve_quotes = True
    writer.indent(mapping=2, sequence=4, offset=2)
    tree = writer.load(read_text(release.path))
    written, wrong = [], []
    for pin in found:
        if pin.problem is None:
            continue
        part = tree
        for step in pin.at[:-1]:
            part = part[step]
        if not pin.right or ("sha256" in part and not replace):
            wrong.append(pin.problem)
            continue
        part["sha256"] = pin.right
        written.append(f"{'.'.join(map(str, pin.at))}: {pin.right}")
    if wrong:
        raise complaint(str(release.path), wrong)
    if written:
        text = StringIO()
        writer.dump(tree, text)
        new = release.path.with_suffix(".part")
        new.write_text(text.getvalue(), encoding="utf-8")
        new.replace(release.path)
    return written
