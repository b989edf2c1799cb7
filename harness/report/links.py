"""The command line that repeats one check exactly: same test, host, image, shape and seed."""

from __future__ import annotations

import shlex


def repeat_command(
    nodeid: str,
    *,
    lab: str = "",
    host: str = "",
    image: str = "",
    release: str = "",
    calibration: str = "",
    firmware: str = "",
    shape: str = "",
    seed: int | str | None = None,
    program: tuple[str, ...] = ("pytest",),
) -> str:
    """A command to paste into a shell, quoted.

    Args:
        nodeid: the test as pytest names it, parameters included.
        lab: the lab's name or file.
        host: the host that ran it, where the pool has several.
        image: name or digest of the guest image; a digest repeats the very bits.
        release: the release of integration services under test.
        calibration: the file of the lab's own limits, where it is not the one that the lab names.
        firmware: of guests whose test asks for none, where it is not what they have without the option.
        shape: the guest's shape, where it is not the test's own.
        seed: the seed of whatever was drawn at random.
        program: how pytest is started.
    """
    words = [*program, nodeid]
    for option, value in (
        ("--lab", lab),
        ("--host", host),
        ("--image", image),
        ("--release", release),
        ("--calibration", calibration),
        ("--firmware", firmware),
        ("--shape", shape),
        ("--seed", "" if seed is None else str(seed)),
    ):
        if value:
            words += [option, value]
    return shlex.join(words)
