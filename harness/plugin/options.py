"""The plugin's command line: what a user may choose about a run."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from harness.backends.model import Firmware
from harness.core import UsageError
from harness.core.secrets import without_password

DEFAULT_IMAGE = "debian12"
DEFAULT_LAB = "local"
"""Names no secrets."""
_NAMING_FILES = ("--lab", "--image", "--release", "--calibration", "--known-issues", "--report-dir", "--summary-file")
# Where pytest has its settings: https://docs.pytest.org/en/stable/reference/customize.html
_SETTINGS = {
    "pytest.toml": "",
    ".pytest.toml": "",
    "pytest.ini": "",
    ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
_SPAN = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one run, typed."""

    lab: str
    image: str
    release: str | None
    calibration: Path | None
    """A lab's own limits, in place of those that its file names."""
    known_issues: Path | None
    """Known issues, in place of those that the lab's file names."""
    report_dir: Path
    each_host: bool
    host: str | None
    firmware: Firmware
    """The guests' firmware where a test asks for none."""
    keep: timedelta | None
    """How long a failed test's guest is kept; None: not at all."""
    join: Path | None = None
    """The folder of an earlier run that results join as further attempts."""
    checks: tuple[str, ...] = ()
    """Patterns of check numbers; empty: every test."""
    exports: tuple[str, ...] = ()
    """Exporters that get the results, as ``NAME`` or ``NAME=TARGET``."""
    progress: str = "auto"
    """How progress is shown: ``auto``, ``live``, ``lines``, ``none``."""
    summary: Path | None = None
    """Where a paragraph about the run is written; None: nowhere."""


def add(parser: pytest.Parser) -> None:
    """Declare the options; every help text says what happens without it."""
    group = parser.getgroup("interop", "interop: one Linux image on every hypervisor of a lab")
    group.addoption(
        "--lab",
        default=DEFAULT_LAB,
        metavar="NAME|FILE",
        help="lab to run in: a name below configs/labs/ or a file (default: local, this machine alone)",
    )
    group.addoption(
        "--image",
        default=DEFAULT_IMAGE,
        metavar="NAME|DIGEST|FILE",
        help="guest image: a recipe below configs/images/, a stored image's digest, or a recipe file "
        "(default: debian12; built once, then cached)",
    )
    group.addoption(
        "--release",
        default=None,
        metavar="NAME|FILE[@baseline]",
        help="release of integration services to install in every guest first, a name below configs/releases/ or a "
        "file; its candidate, or with @baseline that side (default: what the image carries)",
    )
    group.addoption(
        "--firmware",
        default=Firmware.BIOS.value,
        choices=[one.value for one in Firmware],
        help="firmware of guests whose test asks for none; on Hyper-V the machine's generation (default: bios)",
    )
    group.addoption(
        "--calibration",
        default=None,
        metavar="FILE",
        help="limits and sizes of the lab's own, as `interop calibrate` writes them "
        "(default: the file that the lab names; without one, limits that nobody calibrated only warn)",
    )
    group.addoption(
        "--known-issues",
        default=None,
        metavar="FILE",
        help="failures that are known and do not fail the run, each until a day "
        "(default: the file that the lab names, else configs/known-issues.yaml)",
    )
    group.addoption(
        "--report-dir",
        default=None,
        metavar="DIR",
        help="where runs are kept; each gets a folder of its own with results/ (default: reports/out)",
    )
    group.addoption(
        "--join-run",
        dest="interop_join",
        default=None,
        metavar="FOLDER",
        help="let results join those of an earlier run, as further attempts; `interop rerun` uses it "
        "(default: a folder of their own)",
    )
    group.addoption(
        "--each-host",
        action="store_true",
        help="run every test on each host of the lab (default: once per pool, on any free member)",
    )
    group.addoption(
        "--host",
        dest="interop_host",
        default=None,
        metavar="NAME",
        help="run on this host of the lab alone (default: every pool of the lab)",
    )
    group.addoption(
        "--check",
        dest="interop_checks",
        action="append",
        default=None,
        metavar="NUMBER",
        help="run the checks of this number or pattern alone: C01, 'I*'; may be given several times (default: all)",
    )
    group.addoption(
        "--keep",
        default=None,
        metavar="failed[:24h]",
        help="keep the guest of a failed test for that long; see `interop guest list` (default: kept are none)",
    )
    group.addoption(
        "--export",
        dest="interop_exports",
        action="append",
        default=None,
        metavar="NAME[=TARGET]",
        help="give the results to this exporter when the run ends; may be given several times (default: none)",
    )
    group.addoption(
        "--progress",
        dest="interop_progress",
        default="auto",
        choices=["auto", "live", "lines", "none"],
        help="what runs where: live below pytest's lines, or a plain line each minute and for each failure "
        "(default: live on a terminal, lines elsewhere and where CI=true)",
    )
    group.addoption(
        "--summary-file",
        default=None,
        metavar="FILE",
        help="write one paragraph about the run there, for a mail or a chat (default: none)",
    )


def read(config: pytest.Config) -> Options:
    """The options as typed values.

    Raises:
        UsageError: ``--keep`` is not of the form ``failed[:24h]``; or there is no such exporter.
    """
    directory, own = config.getoption("--report-dir"), config.getoption("--calibration")
    issues = config.getoption("--known-issues")
    return Options(
        lab=config.getoption("--lab"),
        image=config.getoption("--image"),
        release=config.getoption("--release"),
        calibration=Path(own).absolute() if own else None,
        known_issues=Path(issues).absolute() if issues else None,
        report_dir=Path(directory) if directory else config.rootpath / "reports" / "out",
        join=Path(config.getoption("interop_join")).absolute() if config.getoption("interop_join") else None,
        each_host=config.getoption("--each-host"),
        host=config.getoption("interop_host"),
        firmware=Firmware(config.getoption("--firmware")),
        keep=_keep(config.getoption("--keep")),
        checks=tuple(config.getoption("interop_checks") or ()),
        progress=config.getoption("interop_progress"),
        summary=Path(config.getoption("--summary-file")).absolute() if config.getoption("--summary-file") else None,
        exports=_exports(config.getoption("interop_exports")),
    )


def _exports(orders: list[str] | None) -> tuple[str, ...]:
    """Exporters that are not there are told before the night, and not after it."""
    if orders:
        from harness.report import exporting  # noqa: PLC0415  who names none does not pay for it

        for order in orders:
            name, _, target = order.partition("=")
            exporting.find(name)
            try:
                without_password(target)  # a command line is everybody's to read
            except ValueError as error:
                hint = "an exporter finds it in the environment or in a file of its own"
                raise UsageError(f"--export {name}: {error}", hint=hint) from None
    return tuple(orders or ())


def _keep(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = re.fullmatch(r"failed(?::(\d+)([mhd]))?", text)
    if not found:
        raise UsageError(f"--keep {text}: not understood", hint="write --keep failed or --keep failed:24h (m, h, d)")
    return timedelta(**{_SPAN[found[2]]: int(found[1])}) if found[1] else timedelta(hours=24)


def refuse_astray(config: pytest.Config) -> None:
    """Refuse a command line that pytest understands otherwise than whoever wrote it, before it collects anything.

    Before it knows any option of a plugin, pytest takes each word that is a file or a folder for a place of tests, and
    looks for its settings there. Beside a lab file that lies elsewhere are none: it would collect whatever is below the
    working directory, and the report would lie beside the lab file.

    Raises:
        UsageError: with the form that pytest understands.
    """
    here = config.invocation_params.dir
    words = [str(word) for word in config.invocation_params.args]
    named = [(option, word) for option, word in itertools.pairwise(words) if option in _NAMING_FILES]
    led = next(((option, word) for option, word in named if (here / word).exists()), None)
    if led is None or config.getoption("inifilename") or config.getoption("rootdir"):
        return
    if config.inipath is not None and here.is_relative_to(config.inipath.parent):
        return
    if any(_has_settings(folder) for folder in (here, *here.parents)):
        option, word = led
        raise UsageError(
            f"pytest takes {word} for a place of tests, and forgets its settings of {here}",
            hint=f"write it in one word: {option}={word}",
        )


def _has_settings(folder: Path) -> bool:
    for name, mark in _SETTINGS.items():
        file = folder / name
        if file.is_file() and mark in file.read_text(encoding="utf-8", errors="replace"):
            return True
    return False
