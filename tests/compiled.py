"""Programs of Go that tests need, built as the vSphere twin is: by any compiler that is new enough, once by content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core import Deadline, LabError
from harness.twins.vsphere import build

_SECONDS = 720


def simulator() -> Path:
    """The program of the vSphere twin; see :func:`program`."""
    return _or_without(build.binary)


def program(sources: Path, name: str) -> Path:
    """A program of tests' own.

    Where it cannot be built the test is skipped with that reason. Where the environment says ``CI`` it fails: whole
    files of tests would be missing from a green run.

    Args:
        sources: the folder of ``go.mod``.
        name: of the program.
    """
    return _or_without(lambda deadline: build.build(sources, name, *build.compiler(deadline), deadline))


def _or_without(make: Callable[[Deadline], Path]) -> Path:
    try:
        return make(Deadline.after(_SECONDS))
    except LabError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
