"""Where the harness keeps things on a controller (XDG base directories, overridable by environment)."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache() -> Path:
    """Images and warm checkpoints: may be deleted at any time. ``INTEROP_CACHE`` overrides ``~/.cache/interop``."""
    return _made(os.environ.get("INTEROP_CACHE"), platformdirs.user_cache_path("interop"))


def state() -> Path:
    """Journal, leases, run locks: deleting it forgets what must be reaped. ``INTEROP_STATE`` overrides it."""
    return _made(os.environ.get("INTEROP_STATE"), platformdirs.user_state_path("interop"))


def configs() -> Path:
    """The configuration that ships with the product: ``configs/`` of a checkout, package data of the wheel."""
    packaged = Path(__file__).resolve().parent.parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def _made(override: str | None, default: Path) -> Path:
    path = Path(override).expanduser() if override else default
    path.mkdir(parents=True, exist_ok=True)
    return path
